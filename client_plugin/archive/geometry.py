"""The geometry of slices: where they lie along the normal of the image plane, and what is wrong with a stack of them.

PS3.3 C.7.6.2: a position is in mm in the patient coordinate system, an orientation is the direction cosines of a row
and of a column. InstanceNumber and SliceLocation say nothing reliable about either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from statistics import median
from typing import Any, Protocol

SAME_DIRECTION = 1e-3  # largest difference of direction cosines within a stack
SAME_PLACE = 1e-2  # mm: slices closer than this are duplicates
GAP = 0.10  # a step that differs from the median by more than this part of it is irregular


class Slice(Protocol):
    """What is read of an instance."""

    @property
    def position(self) -> tuple[float, float, float] | None: ...
    @property
    def orientation(self) -> tuple[float, ...] | None: ...
    @property
    def location(self) -> float | None: ...
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...


@dataclass(frozen=True)
class StackGeometry:
    """What a stack of slices is like.

    Parameters
    ----------
    slices
        Slices that have a position and an orientation.
    unplaced
        Instances that do not.
    spacing
        Median distance of neighbours along the normal in mm; None for fewer than two distinct places.
    gaps
        Steps that are larger than the spacing, as (location in mm before the gap, slices missing).
    duplicates
        Slices that lie where another one lies.
    uniform
        One orientation and one matrix size throughout.
    """

    slices: int
    unplaced: int
    spacing: float | None
    gaps: tuple[tuple[float, int], ...]
    duplicates: int
    uniform: bool

    @property
    def regular(self) -> bool:
        """A volume can be made of it without inventing or choosing slices."""
        return self.uniform and not self.gaps and not self.duplicates and not self.unplaced

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> StackGeometry:
        """The inverse of `to_json`, also after a way through JSON."""
        return cls(**{**values, "gaps": tuple((at, missing) for at, missing in values["gaps"])})


def location_along_normal(position: Sequence[float], orientation: Sequence[float]) -> float:
    """Distance of a slice from the origin along its normal, in mm.

    Examples
    --------
    >>> location_along_normal((0, 0, 7.5), (1, 0, 0, 0, 1, 0))
    7.5
    """
    r, c = orientation[:3], orientation[3:]
    normal = (r[1] * c[2] - r[2] * c[1], r[2] * c[0] - r[0] * c[2], r[0] * c[1] - r[1] * c[0])
    length = math.hypot(*normal)
    if length < SAME_DIRECTION:
        raise ValueError("row and column direction are parallel: no image plane")
    return sum(n * p for n, p in zip(normal, position, strict=True)) / length


def describe_stack(instances: Sequence[Slice]) -> StackGeometry:
    """Gaps, duplicates and spacing of the slices of one series."""
    placed = sorted((i for i in instances if i.location is not None), key=lambda i: i.location or 0.0)
    locations = [i.location for i in placed if i.location is not None]
    steps = [(a, b - a) for a, b in pairwise(locations)]
    distinct = [step for _, step in steps if step > SAME_PLACE]
    spacing = median(distinct) if distinct else None
    gaps = tuple(
        (at, max(1, round(step / spacing) - 1)) for at, step in steps if spacing and step > spacing * (1 + GAP)
    )
    first = placed[0] if placed else None
    return StackGeometry(
        slices=len(placed),
        unplaced=len(instances) - len(placed),
        spacing=spacing,
        gaps=gaps,
        duplicates=len(steps) - len(distinct),
        uniform=first is None or all(_alike(first, other) for other in placed),
    )


def _alike(one: Slice, other: Slice) -> bool:
    directions = zip(one.orientation or (), other.orientation or (), strict=True)
    return (one.rows, one.columns) == (other.rows, other.columns) and all(
        abs(a - b) <= SAME_DIRECTION for a, b in directions
    )
