"""The plots of the report, each a function from the result to an inline SVG.

Series differ by colour, marker and dash, and lines carry their name at their end: nothing rests on
colour alone. Figures are small on purpose, so that their text is still legible on a phone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from demo import words
from demo.report.svg import INK, SITES, inline, style
from demo.result import DemoResult, ModelResult

_WIDE = (4.7, 2.9)  # inches; 72 units each in the SVG
Dash = str | tuple[float, tuple[float, ...]]  # Matplotlib's: a name, or offset and on-off lengths
_MARKERS = ("o", "s", "D", "^", "v")
_DASHES = ("-", (0, (5, 1.6)), (0, (1.4, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 1)))


@dataclass(frozen=True)
class Line:
    """One series: its points, its name and how it is told apart."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    color: str
    marker: str
    dash: Dash
    weight: float = 1.6


def training_loss(result: DemoResult) -> str:
    """Loss of each hospital in each federated round."""
    lines = []
    for index, hospital in enumerate(result.hospitals):
        points = [
            (one.number, part.loss) for one in result.rounds for part in one.contributions if part.site == hospital.site
        ]
        if points:
            lines.append(_line(hospital.site, points, index))
    ends = "; ".join(f"{line.name} from {line.y[0]:.2f} to {line.y[-1]:.2f}" for line in lines)
    return _curves(
        lines,
        name="plot-loss",
        ylabel="training loss",
        title="Training loss by round and hospital",
        description=f"Line chart over {words.plural(len(result.rounds), 'round')}: {ends}.",
    )


def accuracy_by_round(result: DemoResult) -> str | None:
    """Mean balanced accuracy of every model after each round; None when no model measured it."""
    lines = []
    site = 0
    for model in result.models:
        points = [(p.round, p.balanced_accuracy) for p in model.curve if p.balanced_accuracy is not None]
        if points:
            lines.append(_model_line(model, points, site))
        site += model.kind == "alone"
    if not lines:
        return None
    ends = "; ".join(f"{line.name} ends at {words.score(line.y[-1])}" for line in lines)
    return _curves(
        lines,
        name="plot-accuracy",
        ylabel="mean balanced accuracy",
        title="Balanced accuracy by round and model",
        description=f"Line chart: {ends}.",
    )


def scores_by_model(result: DemoResult) -> str:
    """One row a model: a marker for each slab, a bar at the mean."""
    with style():
        figure = Figure(figsize=(_WIDE[0], 0.6 + 0.42 * len(result.models)))
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for row, model in enumerate(result.models):
            mean = model.mean_balanced_accuracy
            color = _model_color(model)
            axes.plot([0, 1], [row, row], color=INK["rule"], linewidth=0.6, zorder=0)
            axes.plot([mean, mean], [row - 0.36, row + 0.36], color=color, linewidth=3.2, solid_capstyle="butt")
            axes.text(1.03, row, words.score(mean), va="center", weight="bold" if model.kind == "federation" else None)
            for index, score in enumerate(model.scores):
                axes.plot(
                    score.balanced_accuracy,
                    row,
                    linestyle="none",
                    marker=_MARKERS[index % len(_MARKERS)],
                    color=SITES[index % len(SITES)],
                    markeredgecolor=INK["paper"],
                    markeredgewidth=0.8,
                    markersize=6.5,
                    label=f"slab of {score.slab}" if row == 0 else None,
                )
        axes.set_yticks(range(len(result.models)), [m.name for m in result.models])
        axes.tick_params(axis="y", labelcolor=INK["ink"])
        axes.set(xlim=(0, 1), ylim=(len(result.models) - 0.5, -0.5))
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("balanced accuracy (bar and figure: mean of the slabs)")
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.42, 1.0),
            ncols=len(result.models[0].scores),
            frameon=False,
            fontsize=8,
            handletextpad=0.2,
            columnspacing=1.0,
        )
    means = "; ".join(f"{m.name} {words.score(m.mean_balanced_accuracy)}" for m in result.models)
    return inline(
        figure,
        name="plot-scores",
        title="Balanced accuracy of each model on each held-out slab",
        description=f"Dot plot. Means: {means}. The table that follows has every value.",
    )


def seconds_by_round(result: DemoResult) -> str:
    """Wall time of each round as a bar, each hospital's training time as a marker in it."""
    with style():
        figure = Figure(figsize=_WIDE)
        axes = figure.subplots()
        axes.grid(visible=False, axis="x")
        numbers = [one.number for one in result.rounds]
        axes.bar(numbers, [one.seconds for one in result.rounds], width=0.7, color=INK["rule"], label="whole round")
        for index, hospital in enumerate(result.hospitals):
            points = [
                (one.number, part.seconds)
                for one in result.rounds
                for part in one.contributions
                if part.site == hospital.site
            ]
            axes.plot(
                [x for x, _ in points],
                [y for _, y in points],
                linestyle="none",
                marker=_MARKERS[index % len(_MARKERS)],
                color=SITES[index % len(SITES)],
                label=hospital.site,
            )
        axes.set(xlabel="round", ylabel="seconds", ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            ncols=len(result.hospitals) + 1,
            frameon=False,
            fontsize=8,
            handletextpad=0.3,
            columnspacing=1.0,
        )
    total = sum(one.seconds for one in result.rounds)
    return inline(
        figure,
        name="plot-seconds",
        title="Seconds of each round",
        description=f"Bar chart: {words.plural(len(numbers), 'round')}, {words.duration(total)} in all; "
        "markers show each hospital's own training time.",
    )


def _line(name: str, points: Sequence[tuple[int, float]], index: int) -> Line:
    return Line(
        name=name,
        x=tuple(float(x) for x, _ in points),
        y=tuple(y for _, y in points),
        color=SITES[index % len(SITES)],
        marker=_MARKERS[index % len(_MARKERS)],
        dash=_DASHES[index % len(_DASHES)],
    )


def _model_line(model: ModelResult, points: Sequence[tuple[int, float]], site: int) -> Line:
    line = _line(model.name, points, site)
    if model.kind == "alone":
        return line
    heavy = model.kind == "federation"
    return Line(
        line.name, line.x, line.y, _model_color(model), "", "-" if heavy else (0, (2, 1)), 3.0 if heavy else 1.8
    )


def _model_color(model: ModelResult) -> str:
    return {"federation": INK["federation"], "pooled": INK["pooled"], "alone": INK["muted"]}[model.kind]


def _curves(lines: Sequence[Line], *, name: str, ylabel: str, title: str, description: str) -> str:
    with style():
        figure = Figure(figsize=_WIDE)
        axes = figure.subplots()
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                color=line.color,
                linestyle=line.dash,
                linewidth=line.weight,
                marker=line.marker or None,
                markevery=max(1, len(line.x) // 6),
            )
        axes.set(xlabel="round", ylabel=ylabel, ylim=(0, None))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.margins(x=0.02)
        _name_ends(axes, lines)
    return inline(figure, name=name, title=title, description=description)


def _name_ends(axes: Axes, lines: Sequence[Line]) -> None:
    """Write each line's name at its end, moved apart where they would overlap."""
    low, high = axes.get_ylim()
    heights = spread([line.y[-1] for line in lines], gap=0.075 * (high - low))
    right = max((line.x[-1] for line in lines), default=0.0)
    span = axes.get_xlim()[1] - axes.get_xlim()[0]
    for line, height in zip(lines, heights, strict=True):
        axes.annotate(
            line.name,
            (line.x[-1], line.y[-1]),
            xytext=(right + 0.05 * span, height),
            color=line.color,
            va="center",
            weight="bold" if line.weight > 2 else None,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": INK["rule"], "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3},
        )


def spread(values: Sequence[float], *, gap: float) -> list[float]:
    """Positions close to ``values``, in the same order, at least ``gap`` apart and centred on them."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    # Clusters of labels that touch: each is laid out evenly about the mean of what it names.
    clusters: list[list[int]] = []
    for index in order:
        clusters.append([index])
        while len(clusters) > 1 and _bottom(clusters[-1], values, gap) - _top(clusters[-2], values, gap) < gap:
            clusters[-2:] = [clusters[-2] + clusters[-1]]
    result = [0.0] * len(values)
    for cluster in clusters:
        for place, index in enumerate(cluster):
            result[index] = _bottom(cluster, values, gap) + place * gap
    return result


def _bottom(cluster: Sequence[int], values: Sequence[float], gap: float) -> float:
    return sum(values[i] for i in cluster) / len(cluster) - gap * (len(cluster) - 1) / 2


def _top(cluster: Sequence[int], values: Sequence[float], gap: float) -> float:
    return _bottom(cluster, values, gap) + gap * (len(cluster) - 1)
