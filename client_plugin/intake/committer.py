"""Group commit: many associations wait, one thread makes their instances durable together.

A sync costs the same for one instance as for many. While one batch is being synced the next one gathers, so a busy
listener syncs once per batch and an idle one at once; nobody waits for a timer.
"""

from __future__ import annotations

import queue
import threading
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
        self._waiting: queue.Queue[tuple[Spooled, Future[Outcome]] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
        self._thread.start()

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
        self._waiting.put((spooled, done))
        return done.result()

    def close(self) -> None:
        """Commit what waits, then end."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            ended = False
            while len(batch) < MAX_BATCH and not ended:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ended = True
                else:
                    batch.append(following)
            self._commit(batch)
            if ended:
                return

    def _commit(self, batch: list[tuple[Spooled, Future[Outcome]]]) -> None:
        now = self._now()
        metrics.COMMIT_INSTANCES.observe(len(batch))
        try:
            with metrics.COMMIT_SECONDS.time():
                self._spool.publish(spooled.name for spooled, _ in batch)
                outcomes = self._catalogue.record_received([as_received(spooled, now) for spooled, _ in batch])
        except Exception as error:  # noqa: BLE001 - every association of the batch must hear of it
            # The files stay: the transaction may have happened. Spool.take_slot finds those without a row.
            for _, done in batch:
                done.set_exception(error)
            return
        for (spooled, done), outcome in zip(batch, outcomes, strict=True):
            if outcome is Outcome.DUPLICATE:
                self._spool.delete(spooled.name)
            done.set_result(outcome)
