"""Writes the README's figures from ``benchmarks/results``: ``make bench-readme``.

Every figure that has something to reach is there, also the ones that miss it. Quick runs are not quoted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.results import FOLDER

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures: make bench-readme -->", "<!-- end of figures -->"


def section(folder: Path) -> str:
    """The Markdown between the two marks."""
    results = {
        path.stem: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.json"))
        if not path.stem.endswith("-quick")
    }
    return "\n\n".join(_benchmark(name, result) for name, result in results.items())


def insert(document: str, figures: str) -> str:
    """``document`` with the text between its marks replaced.

    Raises
    ------
    ValueError
        It has no marks.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(document):
        raise ValueError(f"no place for the figures: put {BEGIN} and {END} on lines of their own")
    return pattern.sub(lambda _: f"{BEGIN}\n{figures}\n{END}", document)


def _benchmark(name: str, result: Mapping[str, Any]) -> str:
    machine = result["machine"]
    rows = [_row(row) for row in result["figures"] if row["met"] is not None]
    return "\n".join(
        [
            f"`make bench-{name}`, {result['date'][:10]}, {machine['cpu']}, {machine['cores']} cores:",
            "",
            "| figure | fedpacs | against | required | |",
            "|---|---:|---:|---:|---|",
            *rows,
        ]
    )


def _row(row: Mapping[str, Any]) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    against = f"{row['peer_name']}: {_number(row['peer'])}{unit}" if row["peer"] is not None else ""
    of_peer = " ×" if row["peer"] is not None else unit
    if row.get("interval"):
        against = f"95 %: {_number(row['interval'][0])} to {_number(row['interval'][1])}{unit}"
    required = f"{'≤' if row['lower_is_better'] else '≥'} {_number(row['required'])}{of_peer}"
    verdict = "✓" if row["met"] else "missed"
    return f"| {row['figure']} | {_number(row['ours'])}{unit} | {against} | {required} | {verdict} |"


def _number(value: float) -> str:
    """Three digits, and no power of ten for what a person reads without one."""
    return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}") if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    README.write_text(insert(README.read_text(encoding="utf-8"), section(FOLDER)), encoding="utf-8")
