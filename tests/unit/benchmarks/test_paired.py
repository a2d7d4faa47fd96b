from __future__ import annotations

import numpy as np
import pytest

from benchmarks import paired


def test_the_order_turns_around() -> None:
    assert list(paired.order(3)) == [(True, False), (False, True), (True, False)]


def test_a_drift_of_the_machine_does_not_show() -> None:
    rng = np.random.default_rng(0)
    speed = np.linspace(1, 3, 40) * rng.normal(1, 0.01, 40)
    found = paired.ratio(list(1.05 * speed * rng.normal(1, 0.01, 40)), list(speed))
    assert found.pairs == 40
    assert found.median == pytest.approx(1.05, abs=0.01)
    assert found.low < 1.05 < found.high


@pytest.mark.parametrize("pairs", [6, 15, 60])
def test_the_interval_covers_as_often_as_it_says(pairs: int) -> None:
    rng = np.random.default_rng(pairs)
    covered = 0
    for _ in range(400):
        found = paired.ratio(list(rng.lognormal(0, 0.1, pairs)), [1.0] * pairs)
        covered += found.low <= 1.0 <= found.high
    assert covered / 400 > 0.93


def test_too_few_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="at least six"):
        paired.ratio([1.0] * 5, [1.0] * 5)
