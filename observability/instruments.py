"""Counters, gauges and histograms whose label values come from closed sets.

Thin, typed wrappers over ``prometheus_client``. They import it at first use, so that an instrument can be a
module-level object and still be created after :func:`observability.setup.share` has chosen the folder. A labelled
instrument (``…By``) has exactly one label, and takes only members of an enumeration, or names from a bounded list
(:class:`Names`): a free text can never become a time series.

Notes
-----
A gauge is absent until it is set, because a zero that nobody measured looks like a measurement, and it goes
away with the process that set it. Counters and histograms of ended processes stay in the sums.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from observability import setup

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

L = TypeVar("L", bound=str)
Mode = Literal["livemostrecent", "livesum", "livemax", "livemin"]

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LONG_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)

CATALOGUE: dict[str, Instrument] = {}
"""Every instrument of the process by its name: what the documentation and the tests enumerate."""

_lock = threading.RLock()
_registry: CollectorRegistry | None = None


def registry() -> CollectorRegistry:
    """This process's own registry (the endpoint adds up those of all processes)."""
    global _registry
    with _lock:
        if _registry is None:
            from prometheus_client import CollectorRegistry

            from observability import reserving

            reserving.install()
            _registry = CollectorRegistry(auto_describe=True)
        return _registry


class Names:
    """A label whose values are configured names (sites, peers), at most ``limit`` of them.

    Parameters
    ----------
    limit
        After so many different names further ones count as ``other``: a mistake cannot flood Prometheus.
    """

    PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.-]{0,63}")

    def __init__(self, limit: int = 256) -> None:
        self.limit = limit
        self._seen: set[str] = set()

    def check(self, value: str) -> str:
        """``value``, or ``other`` when it is no plain name or one too many."""
        if value in self._seen:
            return value
        if self.PATTERN.fullmatch(value) is None or len(self._seen) >= self.limit:
            return "other"
        self._seen.add(value)
        return value


class Instrument:
    """Name, help text and label of one metric, and the ``prometheus_client`` object once it is used."""

    kind = ""

    def __init__(self, name: str, help_text: str, label: str | None = None, **options: Any) -> None:
        if not name.startswith("fedpacs_"):
            raise ValueError(f"{name}: our metrics start with fedpacs_")
        if name in CATALOGUE:
            raise ValueError(f"{name} is defined twice")
        self.name = name
        self.help_text = help_text
        self.label = label
        self._options = options
        self._metric: Any = None
        self._children: dict[str, Any] = {}
        CATALOGUE[name] = self

    def _family(self) -> Any:
        if self._metric is None:
            with _lock:
                if self._metric is None:
                    import prometheus_client

                    self._metric = getattr(prometheus_client, self.kind)(
                        self.name,
                        self.help_text,
                        (self.label,) if self.label else (),
                        registry=registry(),
                        **self._options,
                    )
        return self._metric


class Labelled(Instrument, Generic[L]):
    """An instrument with one label; ``values`` is its enumeration, or the bounded list of names."""

    def __init__(
        self,
        name: str,
        help_text: str,
        label: str,
        values: type[L] | Names,
        **options: Any,
    ) -> None:
        super().__init__(name, help_text, label, **options)
        self.values = values

    def _text(self, value: L) -> str:
        if isinstance(self.values, Names):
            return self.values.check(value)
        if not isinstance(value, self.values):
            raise TypeError(
                f"{self.name}: {self.label} must be a member of {self.values.__name__}, not {type(value).__name__}"
            )
        return str(value)

    def _child(self, value: L) -> Any:
        text = self._text(value)
        child = self._children.get(text)
        if child is None:
            with _lock:
                child = self._children[text] = self._family().labels(text)
        return child


class Counter(Instrument):
    """Something that only goes up; its name ends in ``_total``."""

    kind = "Counter"

    def inc(self, amount: float = 1.0) -> None:
        self._family().inc(amount)

    def start(self) -> None:
        """Show it at zero, so that the first increment is seen as one."""
        self._family()


class CounterBy(Labelled[L]):
    """A counter for each value of one label."""

    kind = "Counter"

    def inc(self, value: L, amount: float = 1.0) -> None:
        self._child(value).inc(amount)

    def start(self, values: Iterable[StrEnum] | None = None) -> None:
        """Show every value at zero; ``values`` for a label that takes any enumeration."""
        known: Any = values
        if known is None:
            known = () if isinstance(self.values, Names) else self.values
        for value in known:
            self._child(value)


class Gauge(Instrument):
    """A value that goes up and down; absent until set, gone with its process.

    Parameters
    ----------
    mode
        How the values of several processes become one: the most recent, or their sum, maximum, minimum.
    """

    kind = "Gauge"

    def __init__(self, name: str, help_text: str, mode: Mode = "livemostrecent") -> None:
        super().__init__(name, help_text, multiprocess_mode=mode)

    def set(self, value: float) -> None:
        self._family().set(value)

    def set_to_current_time(self) -> None:
        """Set it to now, in seconds since 1970 (for ``…_timestamp_seconds``)."""
        self.set(time.time())

    def inc(self, amount: float = 1.0) -> None:
        """Only with the modes that are not *most recent*."""
        self._family().inc(amount)

    def dec(self, amount: float = 1.0) -> None:
        self._family().dec(amount)


class GaugeBy(Labelled[L]):
    """A gauge for each value of one label."""

    kind = "Gauge"

    def __init__(
        self,
        name: str,
        help_text: str,
        label: str,
        values: type[L] | Names,
        mode: Mode = "livemostrecent",
    ) -> None:
        super().__init__(name, help_text, label, values, multiprocess_mode=mode)

    def set(self, value: L, amount: float) -> None:
        self._child(value).set(amount)

    def set_to_current_time(self, value: L) -> None:
        self.set(value, time.time())


class Histogram(Instrument):
    """How often which size or duration; ``buckets`` are upper bounds in base units."""

    kind = "Histogram"

    def __init__(self, name: str, help_text: str, buckets: tuple[float, ...] = SECONDS) -> None:
        super().__init__(name, help_text, buckets=buckets)
        self._buckets = (*buckets, math.inf)

    def start(self) -> None:
        """Show it at zero, so that the first observation is seen as one."""
        self._family()

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """Count ``amount``.

        Parameters
        ----------
        exemplar
            Which event this was, for example ``{"job": id}``; for rare events only (`observability.exemplars`).
        """
        family = self._family()
        shared = None if exemplar is None else setup.folder()
        if exemplar is None or shared is None:
            family.observe(amount, exemplar)
            return
        from observability import exemplars

        family.observe(amount)
        bound = next(bound for bound in self._buckets if amount <= bound)
        exemplars.keep(shared, self.name, amount, bound, exemplar)

    @contextmanager
    def time(self) -> Iterator[None]:
        """Observe how long the block took, also when it raised."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe(time.perf_counter() - start)


class HistogramBy(Labelled[L]):
    """A histogram for each value of one label."""

    kind = "Histogram"

    def __init__(
        self,
        name: str,
        help_text: str,
        label: str,
        values: type[L] | Names,
        buckets: tuple[float, ...] = SECONDS,
    ) -> None:
        super().__init__(name, help_text, label, values, buckets=buckets)

    def start(self, values: Iterable[L]) -> None:
        """Show these values at zero; each is a dozen of series."""
        for value in values:
            self._child(value)

    def observe(self, value: L, amount: float) -> None:
        self._child(value).observe(amount)

    @contextmanager
    def time(self, value: L) -> Iterator[None]:
        """Observe how long the block took, also when it raised."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.observe(value, time.perf_counter() - start)
