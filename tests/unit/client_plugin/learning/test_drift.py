"""FedProx and SCAFFOLD in the trainer, the latter through both locks of the aggregation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from client_plugin.learning.control_variates import ControlVariates
from client_plugin.learning.drift import Drift
from client_plugin.learning.federated_model import FederatedModel
from client_plugin.learning.training import LocalTrainer, Weights
from secure_aggregation.layout import Layout
from tests.unit.client_plugin.learning import phantom
from tests.unit.secure_aggregation.consortium import Consortium, settings

CLIP = 1.0
ROUNDS = 3


def far(weights: Weights, start: Weights) -> float:
    return float(np.sqrt(sum(np.square(weights[name] - start[name]).sum() for name in start)))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_proximal_term_holds_a_hospital_to_the_rounds_start(optimizer: str) -> None:
    few = {"optimizer": optimizer, "steps": 6, "batch_size": 8}
    plain = phantom.trainer(**few)
    start = plain.initial_weights()
    ways = [far(plain.train_round(start, 0).weights, start)]
    for mu in (1.0, 10.0):
        trainer = phantom.trainer(algorithm="fedprox", proximal_mu=mu, **few)
        ways.append(far(trainer.train_round(start, 0).weights, start))
    assert ways[0] > ways[1] > ways[2] > 0


def test_the_gradient_of_the_proximal_term_is_that_of_its_loss() -> None:
    network = torch.nn.Linear(3, 1)
    drift = Drift(network, 0.5, {})
    anchor = network.weight.detach().clone()
    with torch.no_grad():
        network.weight += 2.0
    network(torch.ones(1, 3)).sum().backward()
    drift.before_clipping()
    said = network.weight.grad.clone()
    network.zero_grad()
    (network(torch.ones(1, 3)).sum() + 0.25 * (network.weight - anchor).square().sum()).backward()
    torch.testing.assert_close(said, network.weight.grad)


def test_a_correction_moves_every_step_by_as_much() -> None:
    trainer = phantom.trainer(optimizer="sgd", weight_decay=0.0, steps=1)
    start = trainer.initial_weights()
    name = trainer.parameter_names[0]
    plain = trainer.train_round(start, 0)
    corrected = trainer.train_round(start, 0, correction={name: np.full_like(start[name], 0.25)})
    moved = plain.weights[name] - corrected.weights[name]
    np.testing.assert_allclose(moved, plain.learning_rate * 0.25, atol=1e-6)
    assert all(np.array_equal(plain.weights[n], corrected.weights[n]) for n in start if n != name)


def hospital(number: int) -> LocalTrainer:
    """Each has a body of its own, and the third a lesser one."""
    training = {"algorithm": "scaffold", "optimizer": "sgd", "learning_rate": 0.1, "steps": 6, "batch_size": 8}
    return phantom.trainer("batch", patient=phantom.case(seed=number, depth=40 - 8 * (number == 2)), **training)


def test_control_variates_through_both_locks_sum_as_the_paper_says() -> None:
    trainers = {f"hospital-{n}": hospital(n) for n in range(3)}
    weights = {site: float(len(one.data.training)) for site, one in trainers.items()}
    assert len(set(weights.values())) > 1
    models, variates = {}, {}
    for site, trainer in trainers.items():
        start = trainer.initial_weights()
        variates[site] = ControlVariates({name: start[name].shape for name in trainer.parameter_names}, CLIP)
        models[site] = FederatedModel(site, start, variates=variates[site])
    start = trainers["hospital-0"].initial_weights()
    layout = Layout.declare(models["hospital-0"].shapes)
    wanted = settings("he+masks", 24, CLIP, 1024.0)
    consortium = Consortium(3, wanted, layout)
    names = dict(zip(consortium.sites, trainers, strict=True))
    consortium.ceremony()
    for step in range(ROUNDS):
        updates = {
            theirs: models[ours].update(
                trainers[ours].train_round(models[ours].weights, step, correction=models[ours].correction)
            )
            for theirs, ours in names.items()
        }
        opened = consortium.round(step, updates, {theirs: weights[ours] for theirs, ours in names.items()})
        for theirs, ours in names.items():
            models[ours].apply(step + 1, opened[theirs].tensors, list(trainers))
        total = sum(weights.values())
        for name in variates["hospital-0"].common:
            mean = np.sum([weights[site] / total * variates[site].own[name] for site in trainers], axis=0)
            for site in trainers:
                np.testing.assert_allclose(variates[site].common[name], mean, atol=1e-5)
    # Every hospital has the same model, running statistics included, and its own control variate.
    for name, value in models["hospital-0"].weights.items():
        assert np.array_equal(value, models["hospital-2"].weights[name])
    name = trainers["hospital-0"].parameter_names[0]
    assert not np.allclose(variates["hospital-0"].own[name], variates["hospital-2"].own[name])
    assert any(np.abs(value).max() > 1e-4 for value in variates["hospital-0"].common.values())

    assert far(models["hospital-0"].weights, start) > 0


def test_a_site_that_is_not_in_the_sum_moves_the_common_control_variate_by_nothing() -> None:
    tensors = {"w": np.full(4, 0.5, np.float32), "aux/control/w": np.full(4, 0.25, np.float32)}
    consortium = Consortium(4, replace(settings("he", 24, CLIP, 16.0), min_sites=3), Layout.of(tensors)).ceremony()
    present = list(consortium.sites)[:3]
    opened = consortium.round(0, dict.fromkeys(present, tensors), dict.fromkeys(present, 1.0))
    one = opened[present[0]].tensors
    np.testing.assert_allclose(one["w"], 0.5, atol=1e-6)
    np.testing.assert_allclose(one["aux/control/w"], 0.25 * 3 / 4, atol=1e-6)
