"""The plots: what is drawn, in the page's own colours and fonts."""

from __future__ import annotations

import itertools
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from demo.report import figures
from demo.report.svg import INK
from tests.unit.demo.sample import SITES, make_result

PLOTS = (figures.training_loss, figures.accuracy_by_round, figures.scores_by_model, figures.seconds_by_round)


@pytest.mark.parametrize("plot", PLOTS)
def test_a_plot_is_well_formed_and_borrows_the_pages_style(plot) -> None:
    text = plot(make_result())
    ElementTree.fromstring(text)  # noqa: S314 our own drawing
    assert not [stand_in for stand_in in INK.values() if stand_in in text]
    assert "var(--ink)" in text or "var(--muted)" in text
    assert "font-family" not in text
    assert not re.search(r"(?:fill|stroke): #(?!none)", text)


def test_every_hospital_is_named_at_its_line() -> None:
    text = figures.training_loss(make_result())
    assert all(f">{site}</text>" in text for site in SITES)


def test_every_point_of_the_loss_is_a_vertex() -> None:
    text = figures.training_loss(make_result(rounds=5))
    lines = [d for d in re.findall(r'<path d="([^"]+)"[^>]*stroke: var\(--site-\d\)', text) if d.count("L") == 4]
    assert len(lines) >= len(SITES)


def test_a_site_without_a_round_has_no_line() -> None:
    result = make_result(rounds=1, missing=("hospital-b",))
    text = figures.training_loss(result)
    assert ">hospital-b</text>" not in text
    assert ">hospital-a</text>" in text


def test_a_scores_row_for_each_model() -> None:
    result = make_result()
    text = figures.scores_by_model(result)
    assert all(f">{model.name}</text>" in text for model in result.models)


def test_no_curve_no_plot() -> None:
    result = make_result()
    bare = tuple(model.model_copy(update={"curve": ()}) for model in result.models)
    assert figures.accuracy_by_round(result.model_copy(update={"models": bare})) is None


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=8), st.floats(0.01, 10))
def test_labels_keep_their_order_and_distance(values: list[float], gap: float) -> None:
    placed = figures.spread(values, gap=gap)
    order = sorted(range(len(values)), key=lambda i: values[i])
    for before, after in itertools.pairwise(order):
        assert placed[after] - placed[before] >= gap - 1e-6
    assert sum(placed) == pytest.approx(sum(values), abs=1e-6)


def test_labels_that_do_not_touch_stay_where_they_are() -> None:
    assert figures.spread([3.0, 1.0, 2.0], gap=0.5) == [3.0, 1.0, 2.0]
