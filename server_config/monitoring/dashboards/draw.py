"""Draws the dashboards from a Prometheus: the same queries and units, by matplotlib, for the README. Not Grafana.

python -m server_config.monitoring.dashboards.draw --prometheus http://127.0.0.1:9090 --minutes 5 --out docs/pictures
"""

from __future__ import annotations

import argparse
import math
import textwrap
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl

from server_config.monitoring.dashboards import aggregation, federation, intake, node, training
from server_config.monitoring.dashboards.panels import Dashboard, Panel
from server_config.monitoring.dashboards.prometheus_api import Series, over_time

mpl.use("Agg")
from matplotlib import dates, figure, ticker

DASHBOARDS = (node.DASHBOARD, federation.DASHBOARD, aggregation.DASHBOARD, intake.DASHBOARD, training.DASHBOARD)
COLUMNS = 24
WIDTH, HEAD, TITLE_HEIGHT, STAT_HEIGHT, PLOT_HEIGHT = 16.0, 0.5, 0.45, 1.3, 2.5
LEFT, BOTTOM = 0.65, 0.3  # room for the numbers of the axes; all lengths in inches
MAX_LEGEND = 8


def draw(dashboard: Dashboard, prometheus: str, end: float, seconds: float, path: Path) -> int:
    """Draw one dashboard over the last ``seconds`` before ``end`` into a PNG.

    Returns
    -------
    int
        How many of its panels have data.
    """
    lines = _lines(dashboard)
    tall = HEAD + sum(_height(line) for line in lines)
    picture = figure.Figure(figsize=(WIDTH, tall))
    note = "drawn by matplotlib from the dashboard's queries; not Grafana"
    picture.text(0.01, 1 - 0.25 / tall, f"{dashboard.title}   ({note})", fontsize=12, va="center")
    step = max(1.0, seconds / 240)
    full = 0
    top = tall - HEAD
    for line in lines:
        top -= _height(line)
        if isinstance(line, str):
            picture.text(0.01, (top + 0.15) / tall, line, fontsize=12, weight="bold")
            continue
        column = 0
        for panel in line:
            left, wide = WIDTH * column / COLUMNS, WIDTH * panel.width / COLUMNS
            size = (wide - LEFT - 0.15, _height(line) - BOTTOM - 0.35)
            axes = picture.add_axes(((left + LEFT) / WIDTH, (top + BOTTOM) / tall, size[0] / WIDTH, size[1] / tall))
            column += panel.width
            found = [
                series
                for query in panel.queries
                for series in over_time(prometheus, query.expr, query.legend or panel.title, end - seconds, end, step)
            ]
            full += bool(found)
            _draw_panel(axes, panel, found, step)
    picture.savefig(path, dpi=80)
    return full


def _lines(dashboard: Dashboard) -> list[str | list[Panel]]:
    """Headings and lines of panels, each at most 24 columns wide."""
    lines: list[str | list[Panel]] = []
    for row in dashboard.rows:
        lines.append(row.title)
        line: list[Panel] = []
        for panel in row.panels:
            if line and sum(each.width for each in line) + panel.width > COLUMNS:
                lines.append(line)
                line = []
            line.append(panel)
        lines.append(line)
    return lines


def _height(line: str | list[Panel]) -> float:
    if isinstance(line, str):
        return TITLE_HEIGHT
    return STAT_HEIGHT if all(panel.kind == "stat" for panel in line) else PLOT_HEIGHT


def _draw_panel(axes: Any, panel: Panel, found: list[Series], step: float) -> None:
    axes.set_title(panel.title, fontsize=9, loc="left")
    shown = UNITS.get(panel.unit, _short)
    if panel.kind == "stat" or not found:
        axes.axis("off")
        values = "\n".join(f"{series.legend}: {shown(series.values[-1])}" for series in found[:4])
        text = values or "\n".join(textwrap.wrap(panel.empty, 5 * panel.width))
        axes.text(0, 0.85, text, fontsize=10 if found else 8, va="top", color="black" if found else "gray")
        return
    if panel.kind == "bars" or len(found) > MAX_LEGEND:
        found = [series for series in found if any(series.values)] or found[:1]
    bottom: dict[float, float] = {}
    for series in found:
        when = [datetime.fromtimestamp(at).astimezone() for at in series.times]
        if panel.kind == "bars":
            base = [bottom.get(at, 0.0) for at in series.times]
            axes.bar(when, series.values, width=step / 86400, bottom=base, label=series.legend)
            bottom |= {at: low + high for at, low, high in zip(series.times, base, series.values, strict=True)}
        else:
            axes.plot(when, series.values, label=series.legend, linewidth=1.2)
    for limit, colour in ((panel.warn, "tab:orange"), (panel.bad, "tab:red")):
        if limit is not None and limit <= 2 * axes.get_ylim()[1]:
            axes.axhline(limit, color=colour, linestyle="--", linewidth=0.8)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: shown(value)))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M:%S"))
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
    axes.tick_params(labelsize=7)
    axes.grid(visible=True, alpha=0.3)
    if len(found) > MAX_LEGEND:
        axes.legend(*[part[:MAX_LEGEND] for part in axes.get_legend_handles_labels()], fontsize=6)
    else:
        axes.legend(fontsize=6)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _seconds(value: float) -> str:
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if abs(value) >= 2 * size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{1000 * value:.3g} ms"


def _bytes(value: float) -> str:
    power = min(4, int(math.log(abs(value), 1024))) if abs(value) >= 1 else 0
    return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


UNITS: dict[str, Callable[[float], str]] = {
    "s": _seconds,
    "bytes": _bytes,
    "Bps": lambda value: f"{_bytes(value)}/s",
    "ops": lambda value: f"{value:.3g}/s",
    "percentunit": lambda value: f"{100 * value:.3g} %",
}


def main() -> None:
    """Draw all five."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prometheus", required=True, help="its address")
    parser.add_argument("--minutes", type=float, default=10.0, help="how far back")
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for dashboard in DASHBOARDS:
        path = options.out / f"{dashboard.uid}.png"
        full = draw(dashboard, options.prometheus, time.time(), 60 * options.minutes, path)
        print(f"{path}: {full} of {len(dashboard.panels)} panels have data")


if __name__ == "__main__":
    main()
