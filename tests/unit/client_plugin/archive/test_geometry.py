import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_plugin.archive.geometry import describe_stack, location_along_normal

from .samples import AXIAL, ct


def test_a_regular_stack_in_any_order() -> None:
    stack = [ct(n) for n in range(20)]
    random.Random(1).shuffle(stack)
    found = describe_stack(stack)
    assert (found.slices, found.spacing, found.gaps, found.duplicates) == (20, 2.5, (), 0)
    assert found.regular


def test_gaps_say_where_and_how_many() -> None:
    found = describe_stack([ct(n) for n in (1, 2, 3, 6, 7, 9)])
    assert found.gaps == ((7.5, 2), (17.5, 1))
    assert not found.regular


def test_duplicates_are_counted_and_do_not_change_the_spacing() -> None:
    found = describe_stack([ct(n) for n in (1, 2, 2, 2, 3, 4)])
    assert (found.spacing, found.duplicates, found.gaps) == (2.5, 2, ())
    assert not found.regular


@pytest.mark.parametrize(
    "odd",
    [ct(3, rows=256), ct(3, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0))],
    ids=["another matrix", "another orientation"],
)
def test_mixed_stacks_are_not_uniform(odd: object) -> None:
    found = describe_stack([ct(1), ct(2), odd])  # type: ignore[list-item]
    assert not found.uniform
    assert not found.regular


def test_a_localizer_without_a_place_is_counted_apart() -> None:
    found = describe_stack([ct(1), ct(2), ct(3, position=None, orientation=None, location=None)])
    assert (found.slices, found.unplaced, found.regular) == (2, 1, False)


@pytest.mark.parametrize("count", [0, 1])
def test_no_spacing_without_two_places(count: int) -> None:
    assert describe_stack([ct(1)] * count).spacing is None


@given(st.floats(-500, 500), st.floats(-500, 500), st.floats(-500, 500))
def test_the_location_ignores_movement_within_the_plane(x: float, y: float, z: float) -> None:
    assert location_along_normal((x, y, z), AXIAL) == pytest.approx(z)


def test_an_oblique_stack_is_measured_along_its_normal() -> None:
    tilted = (1.0, 0.0, 0.0, 0.0, 0.8, -0.6)  # gantry tilt: the normal is (0, 0.6, 0.8)
    assert location_along_normal((0, 3.0, 4.0), tilted) == pytest.approx(5.0)


def test_parallel_directions_span_no_plane() -> None:
    with pytest.raises(ValueError, match="parallel"):
        location_along_normal((0, 0, 0), (1, 0, 0, 1, 0, 0))
