from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load, save

from client_plugin.learning.control_variates import ControlVariates
from client_plugin.learning.federated_model import FederatedModel
from client_plugin.learning.training import RoundResult, Weights

START = {"w": np.zeros(3, np.float32), "norm.running_mean": np.ones(2, np.float32)}


def filled(w: float, statistics: float) -> Weights:
    return {"w": np.full(3, w, np.float32), "norm.running_mean": np.full(2, statistics, np.float32)}


def result(weights: Weights, steps: int = 4, rate: float = 0.5) -> RoundResult:
    return RoundResult(weights, images=10, patients=1, loss=1.0, steps=steps, learning_rate=rate, seconds=0.1)


def test_a_mean_update_is_applied_once_however_often_it_comes() -> None:
    model = FederatedModel("a", START)
    said = [
        model.apply(number, filled(value, 0.25), ["a", "b"])
        for number, value in ((1, 1.0), (1, 1.0), (2, 0.5), (2, 0.5), (1, 1.0))
    ]
    assert said == [True, False, True, False, False]
    assert model.weights["w"].tolist() == [1.5, 1.5, 1.5]
    assert model.weights["norm.running_mean"].tolist() == [1.5, 1.5]
    assert START["w"].tolist() == [0, 0, 0]


def test_full_weights_are_sent_and_replaced() -> None:
    model = FederatedModel("a", START, full_weights=True)
    assert model.update(result(filled(2, 3)))["w"].tolist() == [2, 2, 2]
    model.apply(1, filled(5, 6), ["a"])
    assert model.weights["w"].tolist() == [5, 5, 5]


def test_what_stays_local_is_not_sent_and_goes_on_from_what_was_trained_here() -> None:
    model = FederatedModel("a", START, is_local=lambda name: name.startswith("norm."))
    sent = model.update(result(filled(2, 3)))
    assert list(sent) == ["w"] == list(model.shared)
    # The same round done again starts from the same weights.
    assert model.weights["norm.running_mean"].tolist() == [1, 1]
    model.apply(1, filled(0.5, 0), ["a"])
    assert model.weights["w"].tolist() == [0.5, 0.5, 0.5]
    assert model.weights["norm.running_mean"].tolist() == [3, 3]
    model.apply(2, filled(0.5, 0), ["b"])  # a round that this site missed
    assert model.weights["norm.running_mean"].tolist() == [3, 3]
    assert model.shapes == {"w": (3,), "norm.running_mean": (2,)}


def variates(bound: float = 10.0) -> ControlVariates:
    return ControlVariates({"w": (3,)}, bound)


def test_scaffold_sends_the_change_of_its_control_variate_beside_the_update() -> None:
    model = FederatedModel("a", START, variates=variates())
    sent = model.update(result(filled(-2, 1), steps=4, rate=0.5))
    assert sent["w"].tolist() == [-2, -2, -2]
    # (x - y) / (K * rate) = 2 / 2; running statistics have no gradient and so no control variate.
    assert sent["aux/control/w"].tolist() == [1, 1, 1]
    assert sent.keys() == model.shapes.keys() == {"w", "norm.running_mean", "aux/control/w"}
    model.apply(1, {**filled(0, 0), "aux/control/w": np.full(3, 0.25, np.float32)}, ["a", "b"])
    assert model.correction["w"].tolist() == [-0.75] * 3  # c - c_i
    # c_i+ - c_i = (x - y) / (K * rate) - c
    again = model.update(result(filled(-2, 1), steps=4, rate=0.5))
    assert again["aux/control/w"].tolist() == [0.75] * 3


def test_a_change_that_is_not_in_the_sum_is_not_kept() -> None:
    model = FederatedModel("a", START, variates=variates())
    model.update(result(filled(-2, 1)))
    model.apply(1, {**filled(0, 0), "aux/control/w": np.full(3, 0.25, np.float32)}, ["b", "c"])
    assert model.correction["w"].tolist() == [0.25] * 3


def test_what_a_hospital_remembers_is_what_it_sent() -> None:
    one = variates(bound=0.5)
    change = one.change(filled(2, 1), filled(0, 1), steps=1, learning_rate=0.1)
    assert change["w"].tolist() == [0.5] * 3
    one.keep(change)
    assert one.own["w"].tolist() == [0.5] * 3


def test_what_only_this_hospital_has_survives_a_restart() -> None:
    def fresh() -> FederatedModel:
        return FederatedModel("a", START, is_local=lambda name: name.startswith("norm."), variates=variates())

    change = {"aux/control/w": np.full(3, 0.25, np.float32)}
    model = fresh()
    model.update(result(filled(-1, 2)))
    model.apply(1, {**filled(0.5, 0), **change}, ["a", "b"])
    model.update(result(filled(-2, 3)))
    kept = load(save(model.own_state()))

    # Killed after its update of round 1: the session hands out the whole total with the sum of that round.
    later, total = fresh(), {**filled(1.5, 0), "aux/control/w": np.full(3, 0.75, np.float32)}
    later.take_own_state(kept)
    later.apply(2, total, ["a", "b"])
    model.apply(2, {**filled(1, 0), "aux/control/w": np.full(3, 0.5, np.float32)}, ["a", "b"])
    for name, value in model.weights.items():
        np.testing.assert_allclose(later.weights[name], value)
    np.testing.assert_allclose(later.correction["w"], model.correction["w"])

    # Round 1 is trained again: that update is in no sum, and the change that it sent is not kept.
    again = fresh()
    again.take_own_state(kept)
    again.apply(1, {**filled(0.5, 0), **change}, ["a", "b"])
    assert again.correction["w"].tolist() == [0.25 - 0.5] * 3

    assert FederatedModel("a", START).own_state() == {}
    with pytest.raises(ValueError, match="another model"):
        fresh().take_own_state({})


def test_scaffold_with_full_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="leave full_weights off"):
        FederatedModel("a", START, full_weights=True, variates=variates())
