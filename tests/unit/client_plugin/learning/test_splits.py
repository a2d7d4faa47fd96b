from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from client_plugin.learning.splits import choose_slabs, held_out_patients


def test_few_patients_are_split_by_slab_and_many_by_patient() -> None:
    assert held_out_patients(f"P{n}" for n in range(7)) == frozenset()
    assert len(held_out_patients(f"P{n}" for n in range(12))) == 3


def test_the_choice_of_patients_does_not_depend_on_order_or_repetition() -> None:
    names = [f"P{n}" for n in range(12)]
    assert held_out_patients(names) == held_out_patients(reversed(names + names))


def _bodies(*quarters: str) -> np.ndarray:
    """Classes per quarter, one letter each; every class fills a box of its own."""
    volume = np.zeros((40, 20, 40), dtype=np.uint8)
    for number, letters in enumerate(quarters):
        for letter in letters:
            label = ord(letter) - ord("a") + 1
            volume[number * 10 : number * 10 + 10, :10, label * 5 : label * 5 + 5] = label
    return volume


def test_the_quarter_with_most_classes_is_held_out() -> None:
    slabs = choose_slabs(_bodies("ab", "abc", "a", "ab"), (3, 3, 3), guard_mm=0)
    assert slabs.held == (10, 20)
    assert slabs.training == ((0, 10), (20, 40))


def test_among_equals_one_whose_classes_also_occur_elsewhere() -> None:
    assert choose_slabs(_bodies("abd", "abc", "c", ""), (3, 3, 3), guard_mm=0).held == (10, 20)


def test_among_equals_an_end_of_the_volume() -> None:
    assert choose_slabs(_bodies("", "ab", "ab", "ab"), (3, 3, 3), guard_mm=0).held == (30, 40)


def test_less_than_a_millilitre_does_not_count() -> None:
    volume = _bodies("ab", "a", "a", "a")
    volume[35, 15, 35] = 7
    volume[36, 15, 36] = 6
    assert choose_slabs(volume, (3, 3, 3), guard_mm=0).held == (0, 10)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no bug
@given(
    depth=st.integers(4, 60),
    spacing=st.floats(0.5, 8),
    guard=st.floats(0, 9),
    seed=st.integers(0, 9),
)
def test_no_slice_is_on_both_sides_and_the_guard_is_kept(depth: int, spacing: float, guard: float, seed: int) -> None:
    volume = np.random.default_rng(seed).integers(0, 4, (depth, 4, 4), dtype=np.uint8)
    slabs = choose_slabs(volume, (spacing, 9, 9), guard)
    held = set(range(*slabs.held))
    assert held
    for start, stop in slabs.training:
        assert 0 <= start < stop <= depth
        for z in (start, stop - 1):
            assert min(abs(z - h) for h in held) > guard / spacing - 1e-9
