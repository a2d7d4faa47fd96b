"""Asks Prometheus what a panel asks, with Grafana's variables filled in."""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

RATE_SECONDS = 15


@dataclass(frozen=True)
class Series:
    """One line of a panel: times in seconds since 1970 and values."""

    legend: str
    times: tuple[float, ...]
    values: tuple[float, ...]


def filled_in(expr: str, *, site: str = ".+", rate_interval: str = f"{RATE_SECONDS}s", span: str = "1h") -> str:
    """The expression without Grafana's variables."""
    return expr.replace("$site", site).replace("$__rate_interval", rate_interval).replace("$__range", span)


def ask(prometheus: str, path: str, **parameters: str | float) -> list[dict[str, Any]]:
    """The result of a query of Prometheus' HTTP API.

    Raises
    ------
    urllib.error.HTTPError
        Prometheus refuses the expression.
    """
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - the address that we were given
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def over_time(prometheus: str, expr: str, legend: str, start: float, end: float, step: float) -> list[Series]:
    """The series of a range query, named by the legend (``{{label}}`` is replaced)."""
    result = ask(prometheus, "query_range", query=filled_in(expr), start=start, end=end, step=step)
    return [
        Series(
            _named(legend, each["metric"]),
            tuple(float(at) for at, _ in each["values"]),
            tuple(float(value) for _, value in each["values"]),
        )
        for each in result
    ]


def _named(legend: str, labels: dict[str, str]) -> str:
    for label, value in labels.items():
        legend = legend.replace("{{" + label + "}}", value)
    return re.sub(r"\s*\{\{\w+\}\}", "", legend) or "all"
