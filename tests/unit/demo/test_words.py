"""Figures as people read them."""

from __future__ import annotations

import pytest

from demo import words


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (131_072, "131 kB"), (999_600, "1 MB"), (5_100_000_000, "5.1 GB")],
)
def test_size(count: int, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3900, "1 h 05 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


def test_scores_and_differences() -> None:
    assert words.score(0.4671) == ".467"
    assert words.score(1.0) == "1.000"
    assert words.difference(0.0714) == "+.071"
    assert words.difference(-0.05) == "−.050"


def test_counts() -> None:
    assert words.number(3) == "three"
    assert words.number(1463) == "1\u202f463"
    assert words.plural(1, "study") == "1 study"
    assert words.plural(2, "study") == "2 studies"
    assert words.plural(20_074, "image") == "20\u202f074 images"


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")]
)
def test_listing(items: str, text: str) -> None:
    assert words.listing(list(items)) == text
