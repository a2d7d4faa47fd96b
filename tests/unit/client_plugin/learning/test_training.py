from __future__ import annotations

import numpy as np
import pytest

from client_plugin.learning.tasks import open_task
from client_plugin.learning.training import LocalTrainer, NotTrainable, learning_rate
from tests.unit.client_plugin.learning import phantom


def test_it_learns_what_the_phantom_shows() -> None:
    trainer = phantom.trainer(rounds=6, steps=20)
    weights = trainer.initial_weights()
    losses = []
    for number in range(6):
        result = trainer.train_round(weights, number)
        weights, losses = result.weights, [*losses, result.loss]
    assert losses[-1] < losses[0] / 2
    assert trainer.evaluate(weights).balanced_accuracy > 0.85


def test_a_round_done_again_gives_the_same_and_another_round_another() -> None:
    one, again = phantom.trainer(), phantom.trainer()
    start = one.initial_weights()
    first = one.train_round(start, 1)
    one.train_round(first.weights, 2)  # what was trained in between leaves no trace
    for result in (one.train_round(start, 1), again.train_round(start, 1)):
        assert all(np.array_equal(result.weights[name], value) for name, value in first.weights.items())
    assert one.train_round(start, 0).loss != first.loss


def test_a_round_says_what_it_did_and_reports_each_step() -> None:
    trainer, steps = phantom.trainer(steps=4), []
    start = trainer.initial_weights()
    kept = {name: value.copy() for name, value in start.items()}
    result = trainer.train_round(start, 0, lambda *said: steps.append(said))
    assert [(done, of) for done, of, _ in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert result.loss == pytest.approx(np.mean([loss for *_, loss in steps]))
    assert (result.images, result.patients, result.steps) == (len(trainer.data.training), 1, 4)
    assert all(np.array_equal(start[name], value) for name, value in kept.items())
    assert all(value.dtype == np.float32 for value in result.weights.values())


def test_hospitals_start_from_the_same_weights() -> None:
    one, other = phantom.trainer(), phantom.trainer()
    for name, value in one.initial_weights().items():
        assert np.array_equal(value, other.initial_weights()[name])
    assert not all(
        np.array_equal(value, one.initial_weights(seed=5)[name]) for name, value in one.initial_weights().items()
    )


def test_weights_of_another_network_and_diverged_ones_are_refused() -> None:
    trainer = phantom.trainer()
    good = trainer.initial_weights()
    name = next(iter(good))
    for bad in (
        {key: value for key, value in good.items() if key != name},
        {**good, "more": good[name]},
        {**good, name: good[name][:1]},
    ):
        with pytest.raises(ValueError, match="another network"):
            trainer.evaluate(bad)
    with pytest.raises(ValueError, match="not finite"):
        trainer.evaluate({**good, name: np.full_like(good[name], np.nan)})


def test_no_training_images_is_an_error_that_says_so() -> None:
    settings = phantom.config()
    task = open_task(settings)
    trainer = LocalTrainer(task, task.prepare([], frozenset()), settings)
    assert trainer.evaluate(trainer.initial_weights()).images == 0
    with pytest.raises(NotTrainable, match="no training images"):
        trainer.train_round(trainer.initial_weights(), 0)


def test_the_schedule_ends_small_and_never_at_0() -> None:
    rates = [learning_rate(1, number, 10) for number in range(12)]
    assert rates[0] == 1
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == rates[9] > 0
