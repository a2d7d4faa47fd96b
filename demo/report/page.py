"""From a result to the page: what the template needs, and the file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from demo import words
from demo.report import figures
from demo.result import DemoResult, ModelResult, Score


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix: ``share`` is its part of the row, 0 to 100."""

    count: int
    share: int
    right: bool


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix, ready to be a table: only classes that occur or were predicted."""

    model: str
    slab: str
    images: int
    patients: int
    balanced_accuracy: float
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


def matrix(model: ModelResult, score: Score, classes: tuple[str, ...]) -> Matrix:
    """Rows for the classes the slab has, columns for those and any other that the model named."""
    counts = score.confusion
    rows = [i for i, row in enumerate(counts) if sum(row)]
    columns = [j for j in range(len(classes)) if j in rows or any(row[j] for row in counts)]
    return Matrix(
        model=model.name,
        slab=score.slab,
        images=score.images,
        patients=score.patients,
        balanced_accuracy=score.balanced_accuracy,
        classes=tuple(classes[j] for j in columns),
        rows=tuple(
            (
                classes[i],
                tuple(Cell(counts[i][j], round(100 * counts[i][j] / sum(counts[i])), i == j) for j in columns),
            )
            for i in rows
        ),
    )


def render(result: DemoResult) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("demo.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        size=words.size,
        duration=words.duration,
        score=words.score,
        difference=words.difference,
        grouped=words.grouped,
        plural=words.plural,
        number=words.number,
        listing=words.listing,
    )
    matrices = [(model, [matrix(model, score, result.classes) for score in model.scores]) for model in result.models]
    accuracy = figures.accuracy_by_round(result)
    return environment.get_template("report.html.j2").render(
        result=result,
        plot_scores=Markup(figures.scores_by_model(result)),  # noqa: S704 our own drawings, their texts escaped
        plot_loss=Markup(figures.training_loss(result)),  # noqa: S704
        plot_accuracy=Markup(accuracy) if accuracy else None,  # noqa: S704
        plot_seconds=Markup(figures.seconds_by_round(result)),  # noqa: S704
        federation=[entry for entry in matrices if entry[0].kind == "federation"],
        others=[entry for entry in matrices if entry[0].kind != "federation"],
        longest_phase=max((phase.seconds for phase in result.phases), default=1) or 1,
        heaviest=max(result.network.plain_bytes, result.update_bytes_up, result.update_bytes_down) or 1,
        best={
            score.slab: max(model.scores[index].balanced_accuracy for model in result.models)
            for index, score in enumerate(result.models[0].scores)
        },
    )


def write_report(result: DemoResult, path: Path) -> None:
    """Write the page to ``path``."""
    path.write_text(render(result), encoding="utf-8")
