"""The live view and its plain form, on recorded consoles."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from demo.live import ROUNDS_SHOWN, Board, HospitalState, PhaseState, RunState, lines, view
from tests.unit.demo.sample import SITES, make_result

RESULT = make_result(missing=("hospital-b",))


def painted(state: RunState, width: int = 140) -> str:
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True)
    console.print(view(state))
    return console.export_text()


def state(**changes: object) -> RunState:
    base = RunState(
        phases=(PhaseState("Provision", "done", 6.2), PhaseState("Train", "running", 75.0), PhaseState("Compare")),
        hospitals=tuple(HospitalState(site, "listening", 134, 134, 130, 0) for site in SITES),
        rounds=RESULT.rounds,
        total_rounds=12,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def plain() -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=False, width=100), out


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_view_shows_phases_hospitals_and_rounds() -> None:
    text = painted(state())
    assert "✓ Provision" in text
    assert "1 min 15 s" in text
    assert "· Compare" in text
    for site in SITES:
        assert site in text
    assert "134/134" in text
    assert "130/134" in text
    assert "12/12" in text  # rounds a hospital contributed to
    assert "11/12" in text  # and the one that missed the last
    assert "missing" in text
    assert "2/3" in text
    assert "1\u202f098" in text  # images a hospital trained on


def test_a_round_under_way_says_who_is_training() -> None:
    one = RESULT.rounds[0]
    begun = one.model_copy(update={"contributions": one.contributions[:1]})
    text = painted(state(rounds=(begun,), waiting_for=SITES[1:]))
    assert text.count("training") == 2
    assert "missing" not in text


def test_only_the_last_rounds_are_shown() -> None:
    text = painted(state())
    shown = range(12 - ROUNDS_SHOWN + 1, 13)
    assert [f" {n}/12 " in text for n in range(1, 12)] == [n in shown for n in range(1, 12)]


def test_a_small_terminal_holds_it() -> None:
    many = tuple(PhaseState(f"phase {n}", "done", 1) for n in range(8))
    rows = painted(state(phases=many), 80).splitlines()
    assert len(rows) <= 24
    assert not any("…" in row for row in rows)


def test_quarantine_has_a_column_when_there_is_something_in_it() -> None:
    assert "quarantined" not in painted(state())
    assert "quarantined" in painted(state(hospitals=(HospitalState("hospital-a", quarantined=2),)))


@pytest.mark.parametrize("width", [60, 80, 100, 200])
def test_it_fits_any_width(width: int) -> None:
    assert max(map(len, painted(state(), width).splitlines())) <= width


def test_a_reader_of_a_log_gets_a_line_for_each_change_and_none_for_no_change() -> None:
    before = state(rounds=(), phases=(PhaseState("Provision", "running"), PhaseState("Train")))
    after = state(
        rounds=RESULT.rounds[:1],
        hospitals=(HospitalState("hospital-a", "listening", 134, 134, 134, 2), *before.hospitals[1:]),
    )
    told = lines(before, after)
    assert told[0] == "✓ Provision: 6.2 s"
    assert told[1] == "… Train"
    assert "  hospital-a: all 134 instances archived" in told
    assert "  hospital-a: 2 instances quarantined" in told
    assert told[-1].startswith("  round 1/12: ")
    assert "393 kB sent" in told[-1]
    assert lines(after, after) == []


def test_a_round_is_told_when_it_is_complete() -> None:
    one = RESULT.rounds[-1]
    begun = one.model_copy(update={"contributions": (), "missing": ()})
    waiting = state(rounds=(begun,), waiting_for=SITES)
    assert lines(state(rounds=()), waiting) == []
    (line,) = lines(waiting, state(rounds=(one,)))
    assert line.endswith("without hospital-b")


def test_the_board_times_phases_and_writes_plain_lines_without_a_terminal() -> None:
    console, out = plain()
    clock = Clock()
    with Board(console, ["Provision", "Train"], clock) as board:
        with board.phase("Provision"):
            clock.now += 2.5
            assert board.state.phases[0] == PhaseState("Provision", "running", 2.5)
        board.hospital("hospital-a", status="listening")
        board.hospital("hospital-a", received=3)
        board.say("[hello]")
        with board.phase("Extra"):
            clock.now += 1
    assert [(p.name, p.seconds) for p in board.phases] == [("Provision", 2.5), ("Extra", 1.0)]
    assert board.state.hospitals == (HospitalState("hospital-a", "listening", received=3),)
    assert out.getvalue().splitlines() == [
        "… Provision",
        "✓ Provision: 2.5 s",
        "  hospital-a: listening",
        "[hello]",
        "… Extra",
        "✓ Extra: 1.0 s",
    ]


def test_a_phase_that_fails_says_so_and_lets_the_error_through() -> None:
    console, out = plain()
    board = Board(console, ["Train"], Clock())
    with pytest.raises(OSError, match="disk full"), board.phase("Train"):
        raise OSError("disk full")
    assert "✗ Train" in out.getvalue()
    with board.phase("Clean up"):
        pass
    assert board.state.phases[-1].state == "done"


def test_phases_do_not_nest() -> None:
    board = Board(plain()[0], ["a", "b"], Clock())
    with board.phase("a"), pytest.raises(RuntimeError, match="inside phase a"), board.phase("b"):
        pass


def test_rounds_are_replaced_by_number() -> None:
    board = Board(plain()[0], [], Clock())
    first, second = RESULT.rounds[:2]
    board.round(first.model_copy(update={"contributions": ()}), total=12, waiting_for=SITES)
    board.round(first, total=12)
    board.round(second, total=12)
    assert board.state.rounds == (first, second)
    assert board.state.waiting_for == ()


def test_on_a_terminal_the_view_is_live() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Board(console, ["Train"]) as board, board.phase("Train"):
        board.hospital("hospital-a", status="listening")
    assert "\x1b[" in out.getvalue()
    assert "listening" in out.getvalue()
