"""Collectors whose work is done beside the scrape."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from typing import Protocol

from prometheus_client.metrics_core import Metric


class Collector(Protocol):
    """What Prometheus' registries take."""

    def collect(self) -> Iterable[Metric]: ...


class Sampled:
    """Asks a collector every few seconds in a thread of its own; a scrape shows its last answer and waits for nothing.

    A question that failed fails the scrape of this part, until one succeeds: an old answer is not shown as a new one.

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
        self._last: list[Metric] | Exception = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sample-{type(collector).__name__}", daemon=True)

    def start(self) -> None:
        self._ask()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._interval)

    def collect(self) -> Iterator[Metric]:
        last = self._last
        if isinstance(last, Exception):
            raise last
        yield from last

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._ask()

    def _ask(self) -> None:
        try:
            self._last = list(self._collector.collect())
        except Exception as error:  # noqa: BLE001 - raised at the scrape, which tells it
            self._last = error
