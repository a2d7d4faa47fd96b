from __future__ import annotations

import itertools
from enum import StrEnum

import pytest

from observability.instruments import CATALOGUE, Counter, CounterBy, Gauge, HistogramBy, Names, registry

numbers = itertools.count()


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Shape(StrEnum):
    ROUND = "round"


@pytest.fixture
def name() -> str:
    return f"fedpacs_test_{next(numbers)}"


def value(name: str, **labels: str) -> float | None:
    return registry().get_sample_value(name, labels)


def test_a_counter_by_enumeration_counts_and_starts_at_zero(name: str) -> None:
    counter = CounterBy(f"{name}_total", "help", "colour", Colour)
    assert value(f"{name}_total", colour="red") is None
    counter.start()
    assert value(f"{name}_total", colour="red") == 0
    counter.inc(Colour.RED, 3)
    assert value(f"{name}_total", colour="red") == 3
    assert value(f"{name}_total", colour="blue") == 0


@pytest.mark.parametrize("foreign", ["red", "DOE^JANE", Shape.ROUND, 7])
def test_only_members_of_the_enumeration_become_a_series(name: str, foreign: object) -> None:
    counter = CounterBy(f"{name}_total", "help", "colour", Colour)
    with pytest.raises(TypeError, match="must be a member of Colour"):
        counter.inc(foreign)  # type: ignore[arg-type]
    assert value(f"{name}_total", colour=str(foreign)) is None


def test_an_open_enumeration_takes_members_and_never_a_plain_string(name: str) -> None:
    counter = CounterBy[StrEnum](f"{name}_total", "help", "reason", StrEnum)
    counter.inc(Shape.ROUND)
    with pytest.raises(TypeError):
        counter.inc("round")  # type: ignore[arg-type]
    assert value(f"{name}_total", reason="round") == 1


def test_names_are_bounded_and_plain() -> None:
    names = Names(limit=2)
    assert [names.check(n) for n in ("a", "b", "c", "a", "x\ny", "")] == ["a", "b", "other", "a", "other", "other"]


def test_a_gauge_is_absent_until_set(name: str) -> None:
    gauge = Gauge(name, "help")
    assert value(name) is None
    gauge.set(2.5)
    assert value(name) == 2.5


def test_time_is_observed_also_when_the_block_raises(name: str) -> None:
    histogram = HistogramBy(name, "help", "colour", Colour)
    with pytest.raises(ZeroDivisionError), histogram.time(Colour.BLUE):
        _ = 1 / 0
    assert value(f"{name}_count", colour="blue") == 1


def test_names_are_ours_and_unique(name: str) -> None:
    Counter(f"{name}_total", "help")
    with pytest.raises(ValueError, match="defined twice"):
        Counter(f"{name}_total", "help")
    with pytest.raises(ValueError, match="start with fedpacs_"):
        Counter("requests_total", "help")


def test_every_instrument_follows_the_conventions() -> None:
    import server_config.metrics  # noqa: F401 - both fill the catalogue

    for metric in CATALOGUE.values():
        assert (metric.kind == "Counter") == metric.name.endswith("_total"), metric.name
        assert not any(unit in metric.name for unit in ("millis", "_ms", "_mb", "percent")), metric.name
        assert len(metric.help_text) > 3, metric.name
