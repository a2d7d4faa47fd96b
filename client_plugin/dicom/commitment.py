"""Storage commitment, push model (PS3.4 annex J), as its SCP.

A peer asks with N-ACTION whether instances are in our keeping; the answer comes as N-EVENT-REPORT over an association
that we open. It is read from the catalogue when it is given: an instance counts if it was acknowledged, be it in the
archive, in the spool or set aside.

What it does not mean: that the original can be had back. This node keeps instances de-identified; the PACS must not
delete its own on our word.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pynetdicom import build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from client_plugin.config import DicomPeer, NodeConfig
from client_plugin.dicom.calling import association
from client_plugin.intake.peek import valid_uid
from observability import logs

log = logging.getLogger(__name__)

SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115
NO_SUCH_ACTION = 0x0123
REQUEST_COMMITMENT = 1
"""Action type ID of the N-ACTION (table J.3.2.1-1)."""
_ALL_HELD, _SOME_FAILED = 1, 2  # event type IDs (table J.3.3.1-1)
_NO_SUCH_OBJECT_INSTANCE = 0x0112
MAX_REFERENCES = 100_000
DELAYS = (0.0, 5.0, 30.0, 120.0, 600.0)
"""Seconds before each try to deliver a report; then the peer has to ask again."""


@dataclass(frozen=True)
class Reference:
    """A referenced SOP instance."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Request:
    """A storage commitment request."""

    transaction_uid: str
    references: tuple[Reference, ...]


def parse(information: Dataset) -> Request:
    """The request in the Action Information of an N-ACTION.

    Raises
    ------
    ValueError
        Something is missing or is no UID.
    """
    transaction = str(information.get("TransactionUID", ""))
    items = information.get("ReferencedSOPSequence", None) or []
    if not valid_uid(transaction) or not 1 <= len(items) <= MAX_REFERENCES:
        raise ValueError("a commitment request needs a transaction UID and references")
    references = tuple(
        Reference(str(item.get("ReferencedSOPClassUID", "")), str(item.get("ReferencedSOPInstanceUID", "")))
        for item in items
    )
    if not all(valid_uid(r.sop_class_uid) and valid_uid(r.sop_instance_uid) for r in references):
        raise ValueError("a reference without SOP class or instance")
    return Request(transaction, references)


def report(request: Request, held: Callable[[Reference], bool]) -> tuple[int, Dataset]:
    """Event type and Event Information of the N-EVENT-REPORT that answers ``request``."""
    kept = [reference for reference in request.references if held(reference)]
    failed = [reference for reference in request.references if not held(reference)]
    information = Dataset()
    information.TransactionUID = request.transaction_uid
    if kept:
        information.ReferencedSOPSequence = Sequence([_item(reference) for reference in kept])
    if failed:
        information.FailedSOPSequence = Sequence([_item(reference, _NO_SUCH_OBJECT_INSTANCE) for reference in failed])
    return (_SOME_FAILED if failed else _ALL_HELD), information


def _item(reference: Reference, failure: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if failure is not None:
        item.FailureReason = failure
    return item


class Commitment:
    """Takes requests and delivers reports, several times if need be, in a thread of its own.

    Requests wait in memory: when the process ends first, the peer has to ask again, as it must when a report does not
    come (PS3.4, J.3.3).

    Parameters
    ----------
    config
        Peers, titles and timeouts.
    received
        Which of these keyed digests the catalogue knows.
    digest
        The keyed digest of a SOP Instance UID.
    """

    def __init__(
        self,
        config: NodeConfig,
        received: Callable[[Iterable[str]], set[str]],
        digest: Callable[[str], str],
        delays: tuple[float, ...] = DELAYS,
    ) -> None:
        self._config = config
        self._received = received
        self._digest = digest
        self._delays = delays
        self._peers: Mapping[str, DicomPeer] = {peer.ae_title: peer for peer in config.dicom.peers}
        self._stopping = threading.Event()
        self._delivering = ThreadPoolExecutor(2, thread_name_prefix="commitment")

    def request(self, peer_title: str | None, action_type: int, information: Callable[[], Dataset]) -> int:
        """Take a request; returns the status of the N-ACTION response.

        Parameters
        ----------
        peer_title
            The configured peer that asks.
        information
            Decodes the Action Information; it may raise anything.
        """
        peer = self._peers.get(peer_title or "")
        if action_type != REQUEST_COMMITMENT:
            return NO_SUCH_ACTION
        if peer is None or peer.host is None or peer.port is None:
            log.error("no commitment without host and port of the peer", extra=logs.fields(peer=peer_title))
            return PROCESSING_FAILURE
        try:
            request = parse(information())
        except Exception:
            log.exception("a commitment request could not be read", extra=logs.fields(peer=peer_title))
            return INVALID_ARGUMENT
        self._delivering.submit(self._deliver, peer, request)
        return SUCCESS

    def close(self) -> None:
        """Give up what was not delivered."""
        self._stopping.set()
        self._delivering.shutdown(cancel_futures=True)

    def _deliver(self, peer: DicomPeer, request: Request) -> None:
        for delay in self._delays:
            if self._stopping.wait(delay):
                return
            try:
                self._send(peer, request)
            except Exception:  # the peer is away or busy, the catalogue is: perhaps not the next time
                log.exception("a commitment report could not be delivered", extra=logs.fields(peer=peer.ae_title))
            else:
                return
        log.error("a commitment report was given up", extra=logs.fields(peer=peer.ae_title))

    def _send(self, peer: DicomPeer, request: Request) -> None:
        digests = {reference: self._digest(reference.sop_instance_uid) for reference in request.references}
        known = self._received(digests.values())
        event, information = report(request, lambda reference: digests[reference] in known)
        with association(
            self._config,
            peer,
            [build_context(StorageCommitmentPushModel)],
            negotiation=[build_role(StorageCommitmentPushModel, scp_role=True)],
        ) as opened:
            status, _ = opened.send_n_event_report(
                information, event, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
            )
        if "Status" not in status or status.Status != SUCCESS:
            raise ConnectionError("the peer did not take the report")
        log.info("commitment reported", extra=logs.fields(peer=peer.ae_title, count=len(request.references)))
