"""Collectors whose work is done beside the scrape."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client.metrics_core import Metric

log = logging.getLogger(__name__)


class Collector(Protocol):
    """What Prometheus' registries take."""

    def collect(self) -> Iterable[Metric]: ...


class Sampled:
    """Asks a collector every few seconds in a thread of its own; a scrape shows its last answer and waits for nothing.

    Parameters
    ----------
    collector
        Asked from the thread, and once at the start.
    interval
        Seconds between two questions.
    """

    def __init__(self, collector: Collector, interval: float) -> None:
        self._collector = collector
        self._interval = interval
        self._last: list[Metric] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sample-{type(collector).__name__}", daemon=True)

    def start(self) -> None:
        self._last = list(self._collector.collect())
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._interval)

    def collect(self) -> Iterator[Metric]:
        yield from self._last

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            try:
                self._last = list(self._collector.collect())
            except Exception:  # the last answer stands; the next question may be answered
                log.exception("a part of the metrics could not be read")
