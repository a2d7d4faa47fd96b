"""One C-STORE: from the fragments of its data set to the status that answers it.

Success is answered when the instance would survive a power cut, never before. An instance that cannot be kept is
answered with a failure; if there is something to look at, it is also kept aside, sealed, with the name of the reason.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Protocol

from client_plugin.archive.received import CatalogueReason, NewReceived, Outcome
from client_plugin.dicom.status import StoreStatus
from client_plugin.intake.committer import GroupCommitter, as_received
from client_plugin.intake.peek import Named, Naming, naming, valid_uid
from client_plugin.intake.reasons import IntakeReason
from client_plugin.intake.spool import Incoming, Origin, Spool, Spooled
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import Received
from observability import logs
from observability.deferred import later

log = logging.getLogger(__name__)

_FAULTS = {
    Naming.MISSING: (IntakeReason.UIDS_MISSING, StoreStatus.DOES_NOT_MATCH_SOP_CLASS),
    Naming.DIFFERS: (IntakeReason.UIDS_DIFFER, StoreStatus.DOES_NOT_MATCH_SOP_CLASS),
    Naming.UNREADABLE: (IntakeReason.UNREADABLE, StoreStatus.CANNOT_UNDERSTAND),
}


def fault(origin: Origin, abstract_syntax: str, head: bytes) -> tuple[IntakeReason, StoreStatus] | None:
    """What is wrong with an instance, judged by its names alone, or None.

    Parameters
    ----------
    origin
        As the C-STORE command names it.
    abstract_syntax
        SOP class of the presentation context that it came in.
    head
        The first bytes of its data set.
    """
    if not valid_uid(origin.sop_instance_uid):
        return IntakeReason.UID_INVALID, StoreStatus.INVALID_SOP_INSTANCE
    if origin.sop_class_uid != abstract_syntax:
        return IntakeReason.SOP_CLASS_DIFFERS, StoreStatus.DOES_NOT_MATCH_SOP_CLASS
    return _FAULTS.get(naming(head, origin.transfer_syntax_uid, Named(origin.sop_class_uid, origin.sop_instance_uid)))


class QuarantineLedger(Protocol):
    """The part of the catalogue that is needed here."""

    def record_quarantined(self, new: NewReceived, reason: StrEnum) -> None: ...


class SpoolSink:
    """A `client_plugin.dicom.upper_layer.Sink` into the spool. Fragments after a failure are thrown away."""

    def __init__(self, begin: Callable[[], Incoming]) -> None:
        self.failure: OSError | None = None
        self._incoming: Incoming | None = None
        try:
            self._incoming = begin()
        except OSError as error:
            self.failure = error

    def write(self, data: bytes | memoryview) -> None:
        if self._incoming is None:
            return
        try:
            self._incoming.write(data)
        except OSError as error:
            self.failure = error
            self.discard()

    def finish(self) -> Spooled | None:
        """The synced instance, or None if it could not be written (`failure`)."""
        if self._incoming is None:
            return None
        try:
            spooled = self._incoming.finish()
        except OSError as error:
            self.failure = error
            self.discard()
            return None
        self._incoming = None
        return spooled

    def discard(self) -> None:
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None


class Store:
    """Answers C-STORE requests of one listener process.

    Parameters
    ----------
    spool, committer, catalogue
        Where instances go.
    min_free_bytes
        The floor below which nothing more is taken.
    """

    def __init__(
        self, spool: Spool, committer: GroupCommitter, catalogue: QuarantineLedger, min_free_bytes: int
    ) -> None:
        self._spool = spool
        self._committer = committer
        self._catalogue = catalogue
        self._min_free_bytes = min_free_bytes

    def begin(self, origin: Origin) -> SpoolSink:
        """A sink for an instance of which the command was received; it fails at once if the disk is full."""
        return SpoolSink(lambda: self._begin(origin))

    def _begin(self, origin: Origin) -> Incoming:
        if self._spool.free_bytes() < self._min_free_bytes:
            raise OSError("free space below intake.min_free_bytes")
        return self._spool.begin(origin)

    def answer(self, sink: SpoolSink, abstract_syntax: str) -> StoreStatus:
        """Make a whole instance durable and say how it went."""
        started = time.perf_counter()
        spooled = sink.finish()
        if spooled is None:
            status, outcome, size = StoreStatus.OUT_OF_RESOURCES, Received.OUT_OF_RESOURCES, 0
            log.error("an instance was refused: the spool's disk is full or cannot be written")
        else:
            status, outcome = self._keep(spooled, abstract_syntax)
            size = spooled.size
        later.note(_count_received, outcome, size, time.perf_counter() - started)
        return status

    def _keep(self, spooled: Spooled, abstract_syntax: str) -> tuple[StoreStatus, Received]:
        found = fault(spooled.origin, abstract_syntax, spooled.head)
        try:
            if found is not None:
                reason, status = found
                self._set_aside(spooled, reason)
                return status, Received.CANNOT_UNDERSTAND
            outcome = self._committer.commit(spooled)
        except Exception:
            log.exception("an instance could not be made durable; its peer keeps it")
            return StoreStatus.OUT_OF_RESOURCES, Received.OUT_OF_RESOURCES
        if outcome is Outcome.CONFLICT:
            self._count(CatalogueReason.UID_CONFLICT, spooled)
        return StoreStatus.SUCCESS, Received(outcome.value)

    def _set_aside(self, spooled: Spooled, reason: IntakeReason) -> None:
        self._spool.publish([spooled.name])
        self._spool.sync()
        self._catalogue.record_quarantined(as_received(spooled, datetime.now(UTC)), reason)
        self._count(reason, spooled)

    @staticmethod
    def _count(reason: StrEnum, spooled: Spooled) -> None:
        metrics.QUARANTINED.inc(reason)
        log.warning("quarantined on arrival", extra=logs.fields(reason=reason, peer=spooled.origin.source_ae))


def _count_received(outcome: Received, size: int, seconds: float) -> None:
    metrics.RECEIVED_INSTANCES.inc(outcome)
    metrics.RECEIVED_BYTES.inc(outcome, size)
    metrics.RECEIVE_SECONDS.observe(outcome, seconds)
