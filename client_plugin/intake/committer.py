"""Group commit: many associations wait, one of them makes all their instances durable together.

A sync costs the same for one instance as for many. While one batch is being synced the next one gathers, so a busy
listener syncs once per batch and an idle one at once; nobody waits for a timer.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Protocol

from client_plugin.archive.received import NewReceived, Outcome
from client_plugin.intake.spool import Spool, Spooled
from client_plugin.metrics import instruments as metrics
from observability.deferred import later

MAX_BATCH = 64
PATIENCE = 25.0
"""Seconds: less than the 30 that peers usually wait for an answer, so that they get one."""


class Ledger(Protocol):
    """The part of the catalogue that is needed here."""

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]: ...


def as_received(spooled: Spooled, now: datetime) -> NewReceived:
    """The catalogue's row for a spooled instance."""
    return NewReceived(
        spool_name=spooled.name,
        uid_digest=spooled.uid_digest,
        content_digest=spooled.content_digest,
        sop_class_uid=spooled.origin.sop_class_uid,
        transfer_syntax_uid=spooled.origin.transfer_syntax_uid,
        size=spooled.size,
        source_ae=spooled.origin.source_ae,
        received_at=now,
    )


class CommitStuck(TimeoutError):  # noqa: N818 - it is the commit that is described
    """The disk or the catalogue did not answer in time: nobody knows whether the instance is durable."""


class GroupCommitter:
    """Publishes spooled instances and enters them in the catalogue, in batches.

    Whoever finds no commit under way commits for all who wait; there is no thread that could die. Every wait has an
    end: a commit that hangs costs each association ``patience`` and is answered with a failure.

    A sync that failed cannot be repeated, since the kernel has dropped what it could not write: after one nothing is
    committed any more, and `broken` is set. The process is to end then; its successor looks at the disk afresh.

    Parameters
    ----------
    spool, catalogue
        Where files and rows go.
    now
        The clock.
    patience
        Seconds that an instance waits for its commit.
    """

    def __init__(
        self,
        spool: Spool,
        catalogue: Ledger,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = PATIENCE,
    ) -> None:
        self.broken = threading.Event()
        self._spool = spool
        self._catalogue = catalogue
        self._now = now
        self._patience = patience
        self._waiting: deque[tuple[Spooled, Future[Outcome]]] = deque()
        self._committing = threading.Lock()

    def commit(self, spooled: Spooled) -> Outcome:
        """Wait until the instance would survive a power cut.

        Returns
        -------
        Outcome
            *stored*; *duplicate*: the same bytes were there, this file is deleted; *conflict*: other bytes were there
            under this UID, this file is in quarantine.

        Raises
        ------
        Exception
            It is not known to be durable: do not answer with success.
        """
        done: Future[Outcome] = Future()
        self._waiting.append((spooled, done))
        if not self._committing.acquire(timeout=self._patience):
            # The file stays: whoever commits next may still take it along. Sent again, it is a duplicate.
            metrics.COMMIT_FAILURES.inc()
            raise CommitStuck(f"no commit for {self._patience:.0f} s: look at the disk and the catalogue")
        try:
            while not done.done():  # else the one before us took it along; more than a batch may be before us
                self._commit([self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))])
        finally:
            self._committing.release()
        outcome = done.result(timeout=0)  # whoever took it out of the queue has settled it before letting go
        if outcome is Outcome.DUPLICATE:
            self._spool.delete(spooled.name)
        return outcome

    def _commit(self, batch: list[tuple[Spooled, Future[Outcome]]]) -> None:
        """Settle every instance of the batch, whatever happens."""
        try:
            now, started = self._now(), time.perf_counter()
            try:
                outcomes = self._make_durable([as_received(spooled, now) for spooled, _ in batch])
            finally:  # also of one that failed: a disk that hangs shows here
                later.note(_count_commit, len(batch), time.perf_counter() - started)
            settled = list(zip(batch, outcomes, strict=True))
        except BaseException as error:
            # The files stay: the transaction may have happened. Spool.take_slot finds those without a row.
            metrics.COMMIT_FAILURES.inc()
            for _, done in batch:
                done.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, done), outcome in settled:
            done.set_result(outcome)

    def _make_durable(self, batch: list[NewReceived]) -> list[Outcome]:
        if self.broken.is_set():
            raise OSError(errno.EIO, "an earlier sync of the spool failed: nothing more is promised")
        self._spool.publish(new.spool_name for new in batch)
        try:
            self._spool.sync()
        except OSError:
            self.broken.set()
            raise
        return self._catalogue.record_received(batch)


def _count_commit(instances: int, seconds: float) -> None:
    metrics.COMMIT_INSTANCES.observe(instances)
    metrics.COMMIT_SECONDS.observe(seconds)
