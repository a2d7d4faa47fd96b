"""A line chart as SVG: drawn on the server, read by screen readers through its title, without scripts or styles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT, MARGIN = 480, 140, 28


@dataclass(frozen=True)
class Curve:
    """Where the line goes, in the SVG's units, and what its axis says."""

    points: tuple[tuple[float, float], ...]
    top: str
    bottom: str

    @property
    def path(self) -> str:
        """For ``<polyline points>``."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


def curve(values: Sequence[float | None]) -> Curve | None:
    """Scale ``values`` (one a round; None: unknown) into the picture; None when there are fewer than two."""
    known = [(index, value) for index, value in enumerate(values) if value is not None]
    if len(known) < 2:
        return None
    low, high = min(value for _, value in known), max(value for _, value in known)
    span = (high - low) or 1.0
    across = (WIDTH - 2 * MARGIN) / max(1, len(values) - 1)
    down = HEIGHT - 2 * MARGIN
    points = tuple((MARGIN + index * across, MARGIN + (high - value) / span * down) for index, value in known)
    return Curve(points, top=f"{high:.3g}", bottom=f"{low:.3g}")
