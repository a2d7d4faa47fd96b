from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from observability.sampling import Sampled


class Source:
    def __init__(self) -> None:
        self.asked = 0

    def collect(self) -> Iterable[Metric]:
        self.asked += 1
        if self.asked == 2:
            raise OSError("away for a moment")
        yield GaugeMetricFamily("fedpacs_asked", "a", value=self.asked)


def shown(sampled: Sampled) -> float:
    (metric,) = sampled.collect()
    return float(metric.samples[0].value)


def test_a_scrape_shows_the_last_answer_and_asks_nothing() -> None:
    source = Source()
    sampled = Sampled(source, interval=3600)
    assert list(sampled.collect()) == []
    sampled.start()
    assert shown(sampled) == shown(sampled) == 1
    assert source.asked == 1
    sampled.stop()


def test_a_question_that_fails_fails_the_scrape_until_one_succeeds() -> None:
    source = Source()
    sampled = Sampled(source, interval=0.2)
    sampled.start()
    until(lambda: source.asked == 2)
    with pytest.raises(OSError, match="away"):
        list(sampled.collect())
    until(lambda: source.asked == 3)
    assert shown(sampled) == 3
    sampled.stop()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    time.sleep(0.02)  # the answer is kept a moment after the question was counted
