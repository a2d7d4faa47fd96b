"""What a panel is: queries, a unit, what it tells, and what its emptiness means. Knows nothing of Grafana."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["stat", "lines", "bars"]

NODE = 'site=~"$site"'
"""Selects the nodes that the dashboard's variable names."""


@dataclass(frozen=True)
class Query:
    """A PromQL expression and the legend of its series (``{{label}}`` is replaced)."""

    expr: str
    legend: str = ""


@dataclass(frozen=True)
class Panel:
    """One panel.

    Parameters
    ----------
    title, description
        What it shows, and what to do when it looks bad.
    unit
        A unit of Grafana's: ``s``, ``bytes``, ``percentunit``, ``short``, ``dtdurations``, ``ops``, ``Bps``, ``none``.
    queries
        What is drawn.
    empty
        What it means when there is no data: shown in the panel's place.
    kind
        ``stat`` (the last value), ``lines`` (over time) or ``bars`` (stacked over time).
    width
        Of 24 columns.
    warn, bad
        Thresholds; ``low`` turns them around (below is bad).
    """

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    empty: str
    kind: Kind = "lines"
    width: int = 8
    warn: float | None = None
    bad: float | None = None
    low: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Dashboard:
    """One dashboard: ``uid`` is its file name and its address in Grafana."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def rate(metric: str, by: str, where: str = NODE) -> str:
    """Per-second rate of a counter, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def increase(metric: str, by: str, where: str = NODE) -> str:
    """Growth of a counter over the panel's step, summed by labels."""
    return f"sum by ({by}) (increase({metric}{{{where}}}[$__rate_interval]))"


def quantile(q: float, metric: str, by: str, where: str = NODE) -> str:
    """A quantile of a histogram."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


def mean(metric: str, by: str, where: str = NODE) -> str:
    """Mean of a histogram's observations."""
    return f"{rate(metric + '_sum', by, where)} / {rate(metric + '_count', by, where)}"
