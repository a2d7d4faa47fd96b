"""The run as it happens: a live view on a terminal, plain lines anywhere else.

`view` and `lines` are pure functions of a `RunState`. A `Board` holds the current state, times the phases
and shows what changed; everything else in the demo only tells the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import RLock
from types import TracebackType
from typing import Any, Literal, Self

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from demo import words
from demo.result import Phase, Round

ROUNDS_SHOWN = 5  # the whole view fits 80 columns and 24 lines
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


@dataclass(frozen=True)
class PhaseState:
    """A step of the run. ``seconds`` counts up while it runs."""

    name: str
    state: Literal["waiting", "running", "done", "failed"] = "waiting"
    seconds: float = 0.0


@dataclass(frozen=True)
class HospitalState:
    """One hospital's node, by its own counts. ``expected``: instances its PACS has; 0 while unknown."""

    site: str
    status: str = "not started"
    expected: int = 0
    received: int = 0
    archived: int = 0
    quarantined: int = 0


@dataclass(frozen=True)
class RunState:
    """All that is shown. The last of ``rounds`` may be under way: then ``waiting_for`` names whom it lacks."""

    phases: tuple[PhaseState, ...]
    hospitals: tuple[HospitalState, ...] = ()
    rounds: tuple[Round, ...] = ()
    total_rounds: int = 0
    waiting_for: tuple[str, ...] = ()


class Beside:
    """Two renderables side by side where there is room, else one below the other."""

    def __init__(self, left: RenderableType, right: RenderableType, *, room: int) -> None:
        self._parts = (left, right)
        self._room = room

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if options.max_width < self._room:
            left, right = self._parts
            yield from (left, Text(), right)
            return
        grid = Table.grid(padding=(0, 4, 0, 0))
        grid.add_row(*self._parts)
        yield grid


def view(state: RunState, *, tick: int = 0) -> RenderableType:
    """The whole state as one renderable; ``tick`` turns the spinner."""
    phases = _phases(state.phases, tick)
    parts: list[RenderableType] = [Beside(phases, _hospitals(state), room=104) if state.hospitals else phases]
    if state.rounds:
        parts += [Text(), Text("loss of each round", style="dim"), _rounds(state)]
    return Padding(Group(*parts), (0, 0, 1, 1))


def _phases(phases: Sequence[PhaseState], tick: int) -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column()
    table.add_column(justify="right", min_width=10)
    signs = {
        "waiting": Text("·", style="dim"),
        "running": Text(SPINNER[tick % len(SPINNER)], style="cyan"),
        "done": Text("✓", style="green"),
        "failed": Text("✗", style="red"),
    }
    for phase in phases:
        style = {"waiting": "dim", "running": "bold", "failed": "red"}.get(phase.state, "")
        spent = "" if phase.state == "waiting" else words.duration(phase.seconds)
        table.add_row(signs[phase.state], Text(phase.name, style=style), Text(spent, style=style))
    return table


def _hospitals(state: RunState) -> RenderableType:
    """What each hospital took in, and what it last contributed to a round."""
    table = _table()
    trouble = any(hospital.quarantined for hospital in state.hospitals)
    table.add_column("hospital", no_wrap=True)
    table.add_column("node")
    for heading in ("received", "archived", *(["quarantined"] if trouble else []), "rounds", "images", "time"):
        table.add_column(heading, justify="right")
    for hospital in state.hospitals:
        parts = [part for one in state.rounds for part in one.contributions if part.site == hospital.site]
        table.add_row(
            hospital.site,
            hospital.status,
            _of(hospital.received, hospital.expected),
            _of(hospital.archived, hospital.expected),
            *([Text(str(hospital.quarantined), style="yellow" if hospital.quarantined else "")] if trouble else []),
            _of(len(parts), state.total_rounds),
            words.grouped(parts[-1].images) if parts else "",
            words.duration(parts[-1].seconds) if parts else "",
        )
    return table


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False, header_style="dim")


def _of(count: int, total: int) -> Text:
    if not total:
        return Text(str(count) if count else "–", style="" if count else "dim")
    return Text(f"{count}/{total}", style="green" if count >= total else "")


def _rounds(state: RunState) -> RenderableType:
    """The last rounds, the training loss of each hospital in a column of its own."""
    sites = [hospital.site for hospital in state.hospitals]
    table = _table()
    for heading in ("round", "time", "sites", *sites, "sent ↑", "got ↓"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in state.rounds[-ROUNDS_SHOWN:]:
        losses = {part.site: f"{part.loss:.3f}" for part in one.contributions}
        absent = dict.fromkeys(one.missing, Text("missing", style="yellow"))
        if one is state.rounds[-1]:
            absent |= dict.fromkeys(state.waiting_for, Text("training", style="cyan"))
        table.add_row(
            _of(one.number, state.total_rounds),
            words.duration(one.seconds),
            f"{len(losses)}/{len(sites)}",
            *(losses.get(site) or absent.get(site, Text("missing", style="yellow")) for site in sites),
            words.size(sum(part.bytes_up for part in one.contributions)),
            words.size(sum(part.bytes_down for part in one.contributions)),
        )
    return table


def lines(before: RunState, after: RunState) -> list[str]:
    """What a reader of a log is told when the state changes from ``before`` to ``after``."""
    told = []
    known = {phase.name: phase.state for phase in before.phases}
    for phase in after.phases:
        if phase.state == known.get(phase.name, "waiting"):
            continue
        if phase.state == "running":
            told.append(f"… {phase.name}")
        elif phase.state in ("done", "failed"):
            told.append(f"{'✓' if phase.state == 'done' else '✗'} {phase.name}: {words.duration(phase.seconds)}")
    earlier = {hospital.site: hospital for hospital in before.hospitals}
    for hospital in after.hospitals:
        old = earlier.get(hospital.site, HospitalState(hospital.site))
        if hospital.status != old.status:
            told.append(f"  {hospital.site}: {hospital.status}")
        if hospital.expected and hospital.archived >= hospital.expected > old.archived:
            told.append(f"  {hospital.site}: all {words.plural(hospital.archived, 'instance')} archived")
        if hospital.quarantined > old.quarantined:
            told.append(f"  {hospital.site}: {words.plural(hospital.quarantined, 'instance')} quarantined")
    told += [_round_line(one, after) for one in _complete(after)[len(_complete(before)) :]]
    return told


def _complete(state: RunState) -> tuple[Round, ...]:
    return state.rounds[:-1] if state.waiting_for else state.rounds


def _round_line(one: Round, state: RunState) -> str:
    losses = ", ".join(f"{part.site} {part.loss:.3f}" for part in one.contributions)
    sent = words.size(sum(part.bytes_up for part in one.contributions))
    total = f"/{state.total_rounds}" if state.total_rounds else ""
    missing = f"; without {words.listing(list(one.missing))}" if one.missing else ""
    return f"  round {one.number}{total}: {words.duration(one.seconds)}, loss {losses}, {sent} sent{missing}"


class Board:
    """Holds the state and shows it. Use it as a context manager; its methods may be called from any thread.

    Parameters
    ----------
    console
        Where to write. A terminal gets the live view; anything else a line for each change.
    phases
        Names of the phases planned, in order. Others are added when they start.
    """

    def __init__(self, console: Console, phases: Sequence[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._lock = RLock()
        self._state = RunState(phases=tuple(PhaseState(name) for name in phases))
        self._running: tuple[str, float] | None = None
        self._ticks = 0
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(console=console, get_renderable=self._render, refresh_per_second=8, transient=False)

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    @property
    def state(self) -> RunState:
        """The current state, a running phase with its time so far."""
        with self._lock:
            if self._running is None:
                return self._state
            name, since = self._running
            return self._with_phase(name, seconds=self._clock() - since)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Phases that are over, for the result."""
        return tuple(Phase(name=p.name, seconds=p.seconds) for p in self.state.phases if p.state in ("done", "failed"))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase; phases follow each other, they do not nest."""
        with self._lock:
            if self._running is not None:
                raise RuntimeError(f"phase {name} cannot start inside phase {self._running[0]}")
            if name not in [phase.name for phase in self._state.phases]:
                self._state = replace(self._state, phases=(*self._state.phases, PhaseState(name)))
            started = self._clock()
            self._show(self._with_phase(name, state="running"))
            self._running = (name, started)
        outcome: Literal["done", "failed"] = "failed"
        try:
            yield
            outcome = "done"
        finally:
            with self._lock:
                self._running = None
                self._show(self._with_phase(name, state=outcome, seconds=self._clock() - started))

    def hospital(self, site: str, **changes: Any) -> None:
        """Update what is known of a hospital, by the names of `HospitalState`; the first call adds it."""
        with self._lock:
            known = {hospital.site: hospital for hospital in self._state.hospitals}
            known[site] = replace(known.get(site, HospitalState(site)), **changes)
            self._show(replace(self._state, hospitals=tuple(known.values())))

    def round(self, one: Round, *, total: int, waiting_for: Sequence[str] = ()) -> None:
        """Add a round, or bring the one with its number up to date. ``waiting_for``: it is not complete yet."""
        with self._lock:
            rounds = (*(old for old in self._state.rounds if old.number < one.number), one)
            self._show(replace(self._state, rounds=rounds, total_rounds=total, waiting_for=tuple(waiting_for)))

    def say(self, text: str) -> None:
        """Write a line above the live view."""
        self._console.print(text, markup=False, highlight=False)

    def _with_phase(self, name: str, **changes: Any) -> RunState:
        changed = tuple(replace(p, **changes) if p.name == name else p for p in self._state.phases)
        return replace(self._state, phases=changed)

    def _show(self, state: RunState) -> None:
        before, self._state = self._state, state
        if not self._live:
            for line in lines(before, state):
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _render(self) -> RenderableType:
        self._ticks += 1
        return view(self.state, tick=self._ticks)
