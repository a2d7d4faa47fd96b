"""The puller: works the job table off, a few studies at a time, within its windows and its rate.

Whatever happens to one study, the others go on. What is running when the process ends is taken up again by the next.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.pulls import PullRow
from client_plugin.archive.sealing import SealBroken, unseal
from client_plugin.config import PullConfig
from client_plugin.dicom.pull.schedule import Again, Done, GiveUp, decide, may_start_at, next_opening
from client_plugin.dicom.pull.source import PullError, PullReason, Source, Watch
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import PullState
from observability import logs

log = logging.getLogger(__name__)

_POLL = 0.5  # seconds between looks at what is running, unless something ends


@dataclass
class _Running:
    row: PullRow
    watch: Watch
    done: Future[None]
    digests: frozenset[str] = field(default_factory=frozenset)
    here: int = 0


class Puller:
    """Pulls what waits in the catalogue's job table.

    Parameters
    ----------
    config
        The ``pull`` section.
    catalogue
        The job table, and what is here already.
    sources
        By the name that the table knows them under.
    key
        What the targets are sealed with: `SiteKeys.derive` ("spool").
    digest
        Keyed digest of an original SOP Instance UID, as the intake makes it.
    now, draw
        Clock (UTC) and random numbers in [0, 1).
    """

    def __init__(
        self,
        config: PullConfig,
        catalogue: Catalogue,
        sources: dict[str, Source],
        *,
        key: bytes,
        digest: Callable[[str], str],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._sources = sources
        self._key = key
        self._digest = digest
        self._now = now
        self._draw = draw
        self._zone = ZoneInfo(config.time_zone) if config.time_zone else None
        self._running: list[_Running] = []
        self._ended = threading.Event()

    def run(self, stop: threading.Event, *, until_empty: bool) -> None:
        """Pull until ``stop``; with ``until_empty`` also end when nothing waits any more.

        What is running at ``stop`` is broken off and goes back to the queue, its try uncounted.
        """
        self._catalogue.resume_pulls()
        with ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="pull") as pool:
            while not stop.is_set():
                self._look_after()
                self._start_due(pool)
                if until_empty and not self._running and self._catalogue.next_pull_at() is None:
                    return
                self._ended.wait(_POLL)
                self._ended.clear()
            while self._running:
                for running in self._running:
                    running.watch.stop(PullReason.STOPPED)
                self._ended.wait(_POLL)
                self._look_after()

    def starts_at(self) -> datetime | None:
        """When the window and the rate allow the next study; None: now."""
        now = self._now()
        local = now.astimezone(self._zone)
        opening = next_opening(self._config.windows, local)
        rate = may_start_at(*self._catalogue.last_pull_started(), self._config)
        latest = max(opening, rate or opening)
        return latest if latest > now else None

    def _is_due(self) -> bool:
        """Whether claiming is worth a transaction that writes: an idle puller must not hold up the listeners."""
        due = self._catalogue.next_pull_at()
        return due is not None and due <= self._now()

    def _start_due(self, pool: ThreadPoolExecutor) -> None:
        while len(self._running) < self._config.concurrency and self._is_due() and self.starts_at() is None:
            row = self._catalogue.claim_pull(self._now())
            if row is None:
                return
            metrics.PULLS.inc(PullState.STARTED)
            running = _Running(row, Watch(), Future())
            self._running.append(running)
            running.done = pool.submit(self._pull, running)

    def _look_after(self) -> None:
        """Note progress, break off what is silent, forget what has ended."""
        self._running = [running for running in self._running if not running.done.done()]
        for running in self._running:
            here = len(self._catalogue.received_digests(running.digests))
            if here > running.here:
                metrics.PULLED_INSTANCES.inc(here - running.here)
                running.here = here
                running.watch.news()
                self._catalogue.pull_progress(running.row, here, len(running.digests))
            if running.watch.silent_for > self._config.stall_seconds:
                running.watch.stop(PullReason.STALLED)

    def _pull(self, running: _Running) -> None:
        try:
            self._try(running)
        finally:
            self._ended.set()

    def _try(self, running: _Running) -> None:
        """One try at one study; whatever happens ends in the job table."""
        row = running.row
        missing: int | None = None
        problem: PullReason | None = None
        try:
            missing = self._fetch(running)
        except PullError as error:
            problem = error.reason
            missing = self._missing(running.digests) if running.digests else None
        except Exception:
            log.exception("a pull failed in the puller itself", extra=logs.fields(peer=row.source, count=row.tries))
            problem = PullReason.INTERNAL
        try:
            self._conclude(running, problem, missing)
        except Exception:  # the row stays claimed, and is taken over once it was not seen for a while
            log.exception("the outcome of a pull could not be recorded", extra=logs.fields(peer=row.source))

    def _fetch(self, running: _Running) -> int:
        """Have everything that is not here sent; returns how much is missing after that."""
        row, watch = running.row, running.watch
        source = self._sources.get(row.source)
        if source is None:
            raise PullError(PullReason.NOT_SUPPORTED)
        try:
            study_uid = unseal(row.target, self._key, target_context(row.study_digest)).decode("ascii")
        except SealBroken:
            raise PullError(PullReason.NOT_FOUND) from None
        instances = source.instances(study_uid, watch)
        if not instances:
            raise PullError(PullReason.NOT_FOUND)
        digests = {self._digest(uid): uid for uid in instances}
        here = self._catalogue.received_digests(digests)
        running.here, running.digests = len(here), frozenset(digests)
        self._catalogue.pull_progress(row, len(here), len(digests))
        wanted = {uid: instances[uid] for digest, uid in digests.items() if digest not in here}
        counted = source.retrieve(study_uid, wanted, watch) if wanted else None
        # A source that moves more than it had listed has got more since, or keeps it from the list: it is asked again.
        return self._missing(running.digests) + max(0, (counted or 0) - len(instances))

    def _missing(self, digests: Iterable[str]) -> int:
        expected = {*digests}
        return len(expected) - len(self._catalogue.received_digests(expected))

    def _conclude(self, running: _Running, problem: PullReason | None, missing: int | None) -> None:
        row, now = running.row, self._now()
        if problem is PullReason.STOPPED and missing != 0:
            self._catalogue.pull_again(row, problem, now, counted=False)
            metrics.PULLS.inc(PullState.CANCELLED)
            return
        verdict = decide(problem=problem, missing=missing, tries=row.tries, config=self._config, draw=self._draw())
        if isinstance(verdict, Done):
            self._catalogue.pull_done(row, len(running.digests), now)
            metrics.PULLS.inc(PullState.COMPLETED)
        elif isinstance(verdict, Again):
            self._catalogue.pull_again(row, verdict.reason, now + verdict.after)
            metrics.PULLS.inc(PullState.PARTIAL)
        elif isinstance(verdict, GiveUp):
            self._catalogue.pull_failed(row, verdict.reason, now)
            metrics.PULLS.inc(PullState.FAILED)
        log.info(
            "a try at a study has ended",
            extra=logs.fields(peer=row.source, outcome=type(verdict).__name__.lower(), reason=problem, count=missing),
        )


def target_context(study_digest: str) -> bytes:
    """What a sealed target is bound to."""
    return b"pull " + study_digest.encode()
