"""The end of a run on a terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from demo import words
from demo.result import DemoResult
from demo.summary import summary
from tests.unit.demo.sample import make_result


def printed(result: DemoResult, width: int = 110) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(summary(result))
    return out.getvalue()


def test_it_has_every_model_on_every_slab() -> None:
    result = make_result()
    rows = {line.strip().rsplit("  ", 4)[0].strip(): line for line in printed(result).splitlines()}
    for model in result.models:
        row = next(line for name, line in rows.items() if name.startswith(model.name))
        assert row.split()[-4:] == [
            *(words.score(score.balanced_accuracy) for score in model.scores),
            words.score(model.mean_balanced_accuracy),
        ]


@pytest.mark.parametrize(("skill", "verb"), [(0.55, "beats"), (0.1, "does not beat")])
def test_it_says_who_won_and_how_few_subjects_there_are(skill: float, verb: str) -> None:
    text = printed(make_result(federation=skill))
    assert f") {verb} the mean of the hospitals alone" in text
    assert "Three subjects only" in text


def test_it_says_what_it_cost_and_what_to_do_next() -> None:
    text = printed(make_result(missing=("hospital-a",)))
    assert "5.1 GB at most" in text
    assert "131 kB up, 262 kB down" in text
    assert "sites in each: 2 to 3 of 3" in text
    assert "make demo-stop" in text
    assert "http://127.0.0.1:9464/metrics" in text


def test_it_fits_eighty_columns() -> None:
    assert max(map(len, printed(make_result(), 80).splitlines())) <= 80
