from __future__ import annotations

import numpy as np
import pytest
import torch

from secure_aggregation import catching_up
from secure_aggregation.ceremony import Settings
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import TRAIN, round_message
from tests.unit.secure_aggregation.consortium import Consortium, Tensors
from tests.unit.secure_aggregation.test_dropout import rekey

MEANS = [np.random.default_rng(i).normal(size=50).astype(np.float32) for i in range(6)]


def run(optimizer: ServerOptimizer) -> np.ndarray:
    state, weights = optimizer.start(50), np.zeros(50, np.float32)
    for mean in MEANS:
        move, state = optimizer.step(state, mean)
        weights = weights + move
    return weights


def test_averaging_is_the_mean_itself() -> None:
    assert np.allclose(run(ServerOptimizer()), np.sum(MEANS, axis=0), atol=1e-6)
    assert np.allclose(run(ServerOptimizer(learning_rate=0.5)), np.sum(MEANS, axis=0) / 2, atol=1e-6)


def test_momentum_is_torchs_sgd() -> None:
    weights = torch.zeros(50, requires_grad=True)
    sgd = torch.optim.SGD([weights], lr=0.3, momentum=0.9)
    for mean in MEANS:
        weights.grad = -torch.from_numpy(mean)
        sgd.step()
    assert np.allclose(run(ServerOptimizer("fedavgm", 0.3)), weights.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi"])
def test_the_adaptive_ones_follow_algorithm_2(name: str) -> None:
    m, v, weights = np.zeros(50), np.full(50, 1e-6), np.zeros(50)
    for mean in MEANS:
        d = mean.astype(float)
        m = 0.9 * m + 0.1 * d
        v = 0.99 * v + 0.01 * d**2 if name == "fedadam" else v - 0.01 * d**2 * np.sign(v - d**2)
        weights = weights + 0.1 * m / (np.sqrt(v) + 1e-3)
    assert np.allclose(run(ServerOptimizer(name, 0.1)), weights, atol=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"name": "sgd"}, {"rate": 1.0}, {"learning_rate": 0.0}, {"beta1": 1.0}, {"tau": 0.0}, {"beta2": "x"}]
)
def test_a_mistake_in_the_job_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ProtocolError, match="server_optimizer") as error:
        ServerOptimizer.from_job(wrong)
    assert error.value.reason is Reason.UNSUPPORTED


SHAPES = {"aux/control": (20,), "zz": (5, 5)}


def tensors(seed: int) -> Tensors:
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def test_sites_agree_auxiliary_vectors_are_left_alone_and_a_late_site_gets_the_moments() -> None:
    agreed = Settings(Encryption.HE, 24, 1.0, 1.0, 2, optimizer=ServerOptimizer("fedadam", 0.1))
    consortium = Consortium(4, agreed, Layout.declare(SHAPES)).ceremony()
    models = {name: {key: np.zeros(shape, np.float32) for key, shape in SHAPES.items()} for name in consortium.sites}
    away = consortium.sites.pop(list(consortium.sites)[3])
    closed = None
    rekey(consortium)
    consortium.count = 3
    for step in range(4):
        if step == 3:
            consortium.sites[away.name] = away
            rekey(consortium)
            consortium.count = 4
        message = round_message(consortium.server.roster(), step, 9, TRAIN, closed)
        if step == 3:
            source = next(iter(consortium.sites.values()))
            away.catch_up(source.state_of(catching_up.request(consortium.server.roster(), message)))
        running = consortium.running(step)
        for i, (name, site) in enumerate(consortium.sites.items()):
            opened = site.begin(message).opened
            if opened:
                for key in SHAPES:
                    models[name][key] += opened.tensors[key]
            running.add(name, site.seal(tensors(10 * step + i), 1.0))
        closed = running.close()
    message = round_message(consortium.server.roster(), 4, 9, TRAIN, closed)
    for name, site in consortium.sites.items():
        opened = site.begin(message).opened
        assert opened
        for key in SHAPES:
            models[name][key] += opened.tensors[key]
    first, *others = models.values()
    for other in others:
        for key in SHAPES:
            assert np.abs(first[key] - other[key]).max() < 1e-5
    plain = sum(
        np.mean([tensors(10 * s + i)["aux/control"] for i in range(3 if s < 3 else 4)], axis=0) for s in range(4)
    )
    assert np.abs(first["aux/control"] - plain).max() < 1e-5
    assert np.abs(first["zz"]).max() > 0.05  # Adam's steps, not means


def test_full_weights() -> None:
    agreed = Settings(Encryption.HE, 24, 1.0, 1.0, 2, full_weights=True)
    consortium = Consortium(3, agreed, Layout.declare(SHAPES)).ceremony()
    for step in range(2):
        updates = {name: tensors(7 * step + i) for i, name in enumerate(consortium.sites)}
        opened = consortium.round(step, updates, dict.fromkeys(updates, 1.0))
        for one in opened.values():
            assert np.allclose(one.tensors["zz"], np.mean([u["zz"] for u in updates.values()], axis=0), atol=1e-6)
    with pytest.raises(ProtocolError, match="needs differences"):
        Settings(Encryption.HE, 24, 1.0, 1.0, 2, full_weights=True, optimizer=ServerOptimizer("fedadam"))


def test_integers_are_not_averaged() -> None:
    consortium = Consortium(2).ceremony()
    consortium.begin(0)
    with pytest.raises(ProtocolError, match="keep 'n' local"):
        next(iter(consortium.sites.values())).seal({"n": np.zeros(3, np.int64)}, 1.0)  # type: ignore[dict-item]
