"""The report as a document: whole, self-contained, readable without seeing it."""

from __future__ import annotations

import itertools
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from demo import words
from demo.report import render, write_report
from demo.report.page import matrix
from demo.result import DemoResult
from tests.unit.demo.sample import make_result

_VOID = {"meta", "img", "br", "link", "hr"}
# A rule that loads something, in an attribute or in a style.
_LOADS = ("src", "srcset", "poster", "background", "action", "formaction", "data")


class Page(HTMLParser):
    """Elements in order, with attributes; checks nesting while it reads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def result() -> DemoResult:
    return make_result()


@pytest.fixture(scope="module")
def page(result: DemoResult) -> Page:
    return Page(render(result))


def test_the_page_loads_nothing(result: DemoResult, page: Page) -> None:
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed"}
        for name in _LOADS:
            assert attributes.get(name, "data:").startswith("data:"), (tag, name)
    text = render(result)
    assert "@import" not in text
    assert text.count("url(") == text.count("url(#")
    assert "default-src 'none'" in text


def test_links_lead_inside_the_page_or_to_the_metrics(result: DemoResult, page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    known = {address.url for address in result.metrics}
    for _, attributes in page.elements:
        href = attributes.get("href")
        assert href is None or href in known or (href.startswith("#") and href[1:] in ids), href


def test_ids_are_unique_over_all_drawings(page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert not [name for name, times in ids.items() if times > 1]


def test_every_drawing_and_picture_is_described(result: DemoResult, page: Page) -> None:
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    drawings = page.all("svg")
    assert [d["id"] for d in drawings] == ["plot-scores", "plot-loss", "plot-accuracy", "plot-seconds"]
    for drawing in drawings:
        assert drawing["role"] == "img"
        assert set(drawing["aria-labelledby"].split()) <= ids
    pictures = page.all("img")
    assert len(pictures) == len(result.crops)
    for picture, crop in zip(pictures, result.crops, strict=True):
        assert crop.truth in picture["alt"]
        assert crop.slab in picture["alt"]


def test_headings_make_an_outline(page: Page) -> None:
    levels = [int(tag[1]) for tag, _ in page.elements if tag in {"h1", "h2", "h3", "h4"}]
    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_every_number_of_the_comparison_is_in_the_table(result: DemoResult, page: Page) -> None:
    for model in result.models:
        row = [model.name, *(words.score(s.balanced_accuracy) for s in model.scores)]
        assert " ".join([*row, words.score(model.mean_balanced_accuracy)]) in page.words


def test_every_confusion_matrix_is_there(result: DemoResult, page: Page) -> None:
    labels = [attributes.get("aria-label", "") for attributes in page.all("div")]
    for model in result.models:
        for score in model.scores:
            assert f"Confusion matrix of {model.name} on {score.slab}" in labels


def test_it_says_how_few_subjects_there_are(page: Page) -> None:
    assert "Three subjects only." in page.words
    assert "may be chance" in page.words


@pytest.mark.parametrize(("skill", "phrase"), [(0.55, "taking part paid off"), (0.1, "taking part did not pay off")])
def test_it_does_not_flatter(skill: float, phrase: str) -> None:
    assert phrase in Page(render(make_result(federation=skill))).words


def test_a_site_that_stayed_away_is_named() -> None:
    page = Page(render(make_result(missing=("hospital-b", "hospital-c"))))
    assert "Round 12 went on without hospital-b and hospital-c." in page.words
    assert "did not contribute" in page.words
    assert "Every hospital contributed" not in page.words


def test_a_round_nobody_contributed_to_is_shown() -> None:
    page = Page(render(make_result(missing=("hospital-a", "hospital-b", "hospital-c"))))
    assert page.words.count("did not contribute") == 3


def test_a_secret_found_at_the_server_is_said_aloud() -> None:
    result = make_result()
    leaky = result.model_copy(update={"server": result.server.model_copy(update={"secrets_found": 1})})
    assert "hospitals' keys: found in 1 place." in Page(render(leaky)).words
    assert "nothing was found" in Page(render(result)).words


def test_names_from_outside_cannot_become_markup() -> None:
    result = make_result()
    evil = result.hospitals[0].model_copy(update={"source": "<script>alert(1)</script>", "site": "<b>x"})
    model = result.models[0].model_copy(update={"name": "<i>m"})
    text = render(result.model_copy(update={"hospitals": (evil,), "models": (model, *result.models[1:])}))
    assert "<script" not in text
    assert "<b>x" not in text
    assert "<i>m" not in text


def test_without_curves_or_crops_their_places_are_gone() -> None:
    result = make_result()
    bare = result.model_copy(
        update={"crops": (), "models": tuple(m.model_copy(update={"curve": ()}) for m in result.models)}
    )
    page = Page(render(bare))
    assert [d["id"] for d in page.all("svg")] == ["plot-scores", "plot-loss", "plot-seconds"]
    assert "#examples" not in [a.get("href") for a in page.all("a")]


def test_the_same_result_gives_the_same_file(result: DemoResult, tmp_path: Path) -> None:
    write_report(result, tmp_path / "one.html")
    write_report(result, tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_a_matrix_has_the_rows_of_the_slab_and_the_columns_of_the_answers(result: DemoResult) -> None:
    model = result.models[3]
    score = model.scores[0].model_copy(update={"confusion": ((3, 1, 0, 0), (0, 0, 0, 0), (2, 0, 2, 0), (0, 0, 0, 0))})
    table = matrix(model, score, ("liver", "heart", "lung", "femur"))
    assert table.classes == ("liver", "heart", "lung")
    assert [name for name, _ in table.rows] == ["liver", "lung"]
    assert [(cell.count, cell.share, cell.right) for cell in table.rows[1][1]] == [
        (2, 50, False),
        (0, 0, False),
        (2, 50, True),
    ]
