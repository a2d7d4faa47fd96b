"""Group commit: many associations wait, one of them makes all their instances durable together.

A sync costs the same for one instance as for many. While one batch is being synced the next one gathers, so a busy
listener syncs once per batch and an idle one at once; nobody waits for a timer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from typing import Protocol

from client_plugin.archive.received import NewReceived, Outcome
from client_plugin.intake.spool import Spool, Spooled
from client_plugin.metrics import instruments as metrics

MAX_BATCH = 64


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


class GroupCommitter:
    """Publishes spooled instances and enters them in the catalogue, in batches.

    Whoever finds no commit under way commits for all who wait. A sync that failed cannot be repeated, since the kernel
    has dropped what it could not write: after one nothing is committed any more. Restart the process when the disk is
    well.

    Parameters
    ----------
    spool, catalogue
        Where files and rows go.
    now
        The clock.
    """

    def __init__(
        self, spool: Spool, catalogue: Ledger, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._spool = spool
        self._catalogue = catalogue
        self._now = now
        self._waiting: deque[tuple[Spooled, Future[Outcome]]] = deque()
        self._committing = threading.Lock()
        self._broken: OSError | None = None

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
        with self._committing:
            if not done.done():  # else the one before us took it along
                self._commit([self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))])
        return done.result()

    def _commit(self, batch: list[tuple[Spooled, Future[Outcome]]]) -> None:
        now = self._now()
        metrics.COMMIT_INSTANCES.observe(len(batch))
        try:
            with metrics.COMMIT_SECONDS.time():
                outcomes = self._make_durable([as_received(spooled, now) for spooled, _ in batch])
        except Exception as error:  # noqa: BLE001 - every association of the batch must hear of it
            # The files stay: the transaction may have happened. Spool.take_slot finds those without a row.
            for _, done in batch:
                done.set_exception(error)
            return
        for (spooled, done), outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.DUPLICATE:
                self._spool.delete(spooled.name)
            done.set_result(outcome)

    def _make_durable(self, batch: list[NewReceived]) -> list[Outcome]:
        if self._broken is not None:
            raise self._broken
        self._spool.publish(new.spool_name for new in batch)
        try:
            self._spool.sync()
        except OSError as error:
            self._broken = error
            raise
        return self._catalogue.record_received(batch)
