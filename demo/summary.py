"""The end of a run on the terminal: what came out, what it cost, where things are and what to do next."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demo import words
from demo.result import DemoResult


def summary(result: DemoResult) -> RenderableType:
    """Everything `result` has to say in one screen."""
    parts: list[RenderableType] = [_scores(result), Text(), *_verdict(result), Text(), _costs(result)]
    for heading, entries in (
        ("Files", result.artifacts),
        ("Metrics", {address.name: address.url for address in result.metrics}),
        ("Next", result.next_commands),
    ):
        if entries:
            parts += [Text(), Text(heading, style="bold"), _facts(entries)]
    return Padding(Group(*parts), (1, 0, 0, 1))


def _scores(result: DemoResult) -> RenderableType:
    table = Table(
        box=box.SIMPLE_HEAD,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        show_edge=False,
        title="Balanced accuracy on held-out slabs",
        title_justify="left",
        title_style="bold",
        header_style="dim",
    )
    table.add_column("trained by", no_wrap=True)
    for score in result.models[0].scores:
        n = f"{words.plural(score.patients, 'patient')}\n{words.plural(score.images, 'image')}"
        table.add_column(f"{score.slab}\n{n}", justify="right")
    table.add_column("mean", justify="right")
    for model in result.models:
        table.add_row(
            model.name,
            *(words.score(score.balanced_accuracy) for score in model.scores),
            words.score(model.mean_balanced_accuracy),
            style="bold" if model.kind == "federation" else "",
        )
    return table


def _verdict(result: DemoResult) -> list[Text]:
    few = f"{words.number(result.patients).capitalize()} {'subject' if result.patients == 1 else 'subjects'} only"
    caution = Text(f"{few}: these figures show that the way works, nothing about clinical use.", style="yellow")
    verdict = result.verdict
    if verdict is None:
        return [caution]
    gain = words.difference(verdict.federation - verdict.alone)
    told = (
        f"The federation ({words.score(verdict.federation)}) "
        f"{'beats' if verdict.federation_beats_alone else 'does not beat'} "
        f"the mean of the hospitals alone ({words.score(verdict.alone)}): {gain}."
    )
    return [Text(told, style="green" if verdict.federation_beats_alone else "red"), caution]


def _costs(result: DemoResult) -> RenderableType:
    phases = " · ".join(f"{phase.name} {words.duration(phase.seconds)}" for phase in result.phases)
    contributed = [len(one.contributions) for one in result.rounds]
    sites = str(contributed[0]) if len(set(contributed)) == 1 else f"{min(contributed)} to {max(contributed)}"
    return _facts(
        {
            "Time": f"{words.duration(result.total_seconds)}: {phases}",
            "Memory": f"{words.size(result.peak_memory_bytes)} at most, all processes together",
            "Rounds": f"{len(result.rounds)}, sites in each: {sites} of {len(result.hospitals)}",
            "Update": (
                f"{words.size(result.update_bytes_up)} up, {words.size(result.update_bytes_down)} down, encrypted "
                f"({words.size(result.network.plain_bytes)} in clear); {result.server.scheme}"
            ),
        }
    )


def _facts(entries: dict[str, str]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in entries.items():
        grid.add_row(name, Text(text))
    return grid
