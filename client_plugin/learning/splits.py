"""What is held out: by patient where there are patients enough, by a contiguous slab of the body where not.

Never by crop or by slice at random: neighbouring slices of one patient are nearly the same image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

ENOUGH_PATIENTS = 8
"""From so many patients on a quarter of them is held out whole."""

_PARTS = 4
_MIN_ML = 1.0  # less of an organ does not count as having it


def held_out_patients(pseudonyms: Iterable[str]) -> frozenset[str]:
    """A quarter of the patients, always the same ones; none where there are fewer than `ENOUGH_PATIENTS`.

    The choice follows a digest of the pseudonym, so a new patient does not move the others to the other side much.
    """
    patients = sorted(set(pseudonyms), key=lambda name: hashlib.sha256(name.encode()).digest())
    return frozenset(patients[: len(patients) // _PARTS]) if len(patients) >= ENOUGH_PATIENTS else frozenset()


@dataclass(frozen=True)
class Slabs:
    """Slices ``start <= z < stop`` of one volume: one slab to evaluate on, up to two to train on."""

    held: tuple[int, int]
    training: tuple[tuple[int, int], ...]


def choose_slabs(classes: NDArray[np.uint8], spacing: tuple[float, float, float], guard_mm: float) -> Slabs:
    """Hold out one contiguous quarter of the volume along z.

    It is the quarter in which most classes occur (with at least 1 ml); among equals the one most of whose classes
    also occur in the rest, so that the hospital could have learnt them; then a quarter at an end of the volume, which
    cuts it only once; then the one with the larger labelled volume. Slices within ``guard_mm`` of it are used for
    nothing: slices of a CT can be thicker than they are apart, and then neighbours share tissue.

    Parameters
    ----------
    classes
        uint8 (z, y, x): 0 for background, else the class.
    spacing
        mm along z, y, x.
    """
    depth = len(classes)
    edges = [round(part * depth / _PARTS) for part in range(_PARTS + 1)]
    voxel_ml = float(np.prod(spacing)) / 1000

    ml = np.stack(
        [np.bincount(classes[a:b].ravel(), minlength=256)[1:] * voxel_ml for a, b in pairwise(edges)]
    )  # (quarters, classes)

    def rank(part: int) -> tuple[int, int, bool, float]:
        here = ml[part] >= _MIN_ML
        rest = ml.sum(axis=0) - ml[part] >= _MIN_ML
        return int(here.sum()), int((here & rest).sum()), part in (0, _PARTS - 1), float(ml[part].sum())

    part = max(range(_PARTS), key=rank)
    start, stop = edges[part], edges[part + 1]
    guard = int(np.ceil(guard_mm / spacing[0]))
    around = ((0, start - guard), (stop + guard, depth))
    return Slabs(held=(start, stop), training=tuple(slab for slab in around if slab[1] > slab[0]))
