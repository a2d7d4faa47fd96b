"""The README's figures are those of the result files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import readme


def result(**row: object) -> str:
    base = {"figure": "upload", "ours": 26.47, "unit": "MB", "peer": 28.37, "peer_name": "float32", "required": 1.5}
    rest = {"lower_is_better": True, "ratio": 0.93, "met": True}
    machine = {"cpu": "some CPU", "cores": 2}
    return json.dumps({"figures": [base | rest | row], "machine": machine, "date": "2026-11-24T05:00:00+00:00"})


def test_a_figure_is_shown_with_its_peer_and_what_it_must_reach(tmp_path: Path) -> None:
    (tmp_path / "sums.json").write_text(result())
    (tmp_path / "sums-quick.json").write_text(result(figure="never quoted"))
    text = readme.section(tmp_path)
    assert "`make bench-sums`, 2026-11-24, some CPU, 2 cores:" in text
    assert "| upload | 26.5 MB | float32: 28.4 MB | ≤ 1.5 × | ✓ |" in text
    assert "never quoted" not in text


def test_an_interval_stands_beside_its_figure(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(result(peer=None, unit="%", ours=0.4, required=2.0, interval=[-0.3, 1.1]))
    assert "| upload | 0.4 % | 95 %: -0.3 to 1.1 % | ≤ 2 % | ✓ |" in readme.section(tmp_path)


def test_large_numbers_are_written_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(result(ours=910.878261, peer=10413.7))
    assert "| 911 MB | float32: 10\u202f414 MB |" in readme.section(tmp_path)


def test_a_missed_figure_is_not_hidden_and_one_without_a_goal_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(result(met=False, peer=None, required=0.05, unit="s", ours=0.07))
    (tmp_path / "b.json").write_text(result(figure="for information", met=None, required=None))
    text = readme.section(tmp_path)
    assert "| upload | 0.07 s |  | ≤ 0.05 s | missed |" in text
    assert "for information" not in text


def test_only_what_is_between_the_marks_is_replaced() -> None:
    document = f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter"
    assert readme.insert(document, "new") == f"before\n{readme.BEGIN}\nnew\n{readme.END}\nafter"
    with pytest.raises(ValueError, match="no place"):
        readme.insert("nothing", "new")
