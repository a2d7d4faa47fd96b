"""Two variants of the same work, measured in neighbouring pairs: what the machine does meanwhile hits both.

The order within pairs turns around (ABBA), so that a drift favours neither. The answer is the median of the pairs'
ratios, with a confidence interval that assumes nothing of their distribution: order statistics of the ratios.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import comb


@dataclass(frozen=True)
class Ratio:
    """Median of the pairs' ratios and its 95 % confidence interval."""

    median: float
    low: float
    high: float
    pairs: int


def order(pairs: int) -> Iterator[tuple[bool, bool]]:
    """For each pair, whether its first and its second are the variant under test: on off, off on, …"""
    for number in range(pairs):
        yield (True, False) if number % 2 == 0 else (False, True)


def ratio(tested: Sequence[float], reference: Sequence[float], confidence: float = 0.95) -> Ratio:
    """Compare pairs.

    Parameters
    ----------
    tested, reference
        Values of the two variants, pair by pair.

    Raises
    ------
    ValueError
        There are not as many of one as of the other, or fewer than six: no interval could be given.
    """
    if len(tested) != len(reference) or len(tested) < 6:
        raise ValueError("the same number of values on both sides is needed, and at least six")
    ratios = sorted(one / other for one, other in zip(tested, reference, strict=True))
    rank = _rank(len(ratios), confidence)
    return Ratio(statistics.median(ratios), ratios[rank], ratios[-1 - rank], len(ratios))


def _rank(count: int, confidence: float) -> int:
    """Index, from either end, of the order statistics that enclose the median with at least this confidence."""
    tail, rank = 0.0, -1
    while True:
        tail += comb(count, rank + 1) / 2**count
        if 2 * tail > 1 - confidence:
            return max(0, rank)
        rank += 1
