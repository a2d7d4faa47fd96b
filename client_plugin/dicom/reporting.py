"""Storage commitment requests: taken, kept in the catalogue, and answered by an N-EVENT-REPORT until the peer takes it.

A request is durable before the N-ACTION is answered with success, so whatever ends the process, the report is sent.
What the peer cannot take now is tried again with the backoff of pulling; after a day it has to ask again, as it must
when a report does not come (PS3.4, J.3.3).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from pydicom.dataset import Dataset
from pynetdicom import build_context, build_role
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.commitments import CommitmentDue
from client_plugin.archive.sealing import seal, unseal
from client_plugin.config import DicomPeer, NodeConfig
from client_plugin.dicom.calling import association
from client_plugin.dicom.commitment import (
    INVALID_ARGUMENT,
    NO_SUCH_ACTION,
    PROCESSING_FAILURE,
    REQUEST_COMMITMENT,
    SUCCESS,
    Request,
    decode,
    encode,
    parse,
    report,
)
from client_plugin.dicom.pull.schedule import backoff
from observability import logs

log = logging.getLogger(__name__)

KEEP = timedelta(days=1)
"""How long it is tried to deliver a report."""
RETRY = (5.0, 3600.0)
"""Seconds before the second try, doubled for each further one, and at most."""
_LOOK = 1.0  # seconds between looks at what is due; a request of this process is answered at once


class Reporting:
    """Takes requests in a listener process, and delivers reports in a thread of its own.

    Several processes share the queue; each request is tried by one of them at a time.

    Parameters
    ----------
    config
        Peers, titles and timeouts.
    catalogue
        Keeps the requests, and knows what was received.
    key
        What requests are sealed with: they hold original UIDs.
    digest
        The keyed digest of a SOP Instance UID.
    retry
        See `RETRY`.
    now, draw
        Clock (UTC) and random numbers in [0, 1).
    """

    def __init__(
        self,
        config: NodeConfig,
        catalogue: Catalogue,
        *,
        key: bytes,
        digest: Callable[[str], str],
        retry: tuple[float, float] = RETRY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._key = key
        self._digest = digest
        self._retry = retry
        self._now = now
        self._draw = draw
        self._peers: Mapping[str, DicomPeer] = {peer.ae_title: peer for peer in config.dicom.peers}
        self._stopping = False
        self._news = threading.Event()
        self._thread = threading.Thread(target=self._run, name="commitment", daemon=True)

    def start(self) -> None:
        """Deliver what is due from now on."""
        self._thread.start()

    def close(self, timeout: float = 5.0) -> None:
        """Deliver no more; what waits is delivered after the next start."""
        self._stopping = True
        self._news.set()
        if self._thread.is_alive():
            self._thread.join(timeout)

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
        try:
            sealed = seal(encode(request), self._key, _context(peer.ae_title))
            self._catalogue.keep_commitment(peer.ae_title, sealed, self._now())
        except Exception:
            log.exception("a commitment request could not be kept", extra=logs.fields(peer=peer_title))
            return PROCESSING_FAILURE
        self._news.set()
        return SUCCESS

    def _run(self) -> None:
        while not self._stopping:
            try:
                worked = self.work()
            except Exception:  # the catalogue may be away for a while
                log.exception("commitment requests could not be looked at")
                worked = 0
            if not worked:
                self._news.wait(_LOOK)
                self._news.clear()

    def work(self) -> int:
        """Try every request that is due once; returns how many that were."""
        tried = 0
        while not self._stopping and self._catalogue.commitment_due(self._now()):
            due = self._catalogue.claim_commitment(self._now())
            if due is None:
                break  # another process was quicker
            self._try(due)
            tried += 1
        return tried

    def _try(self, due: CommitmentDue) -> None:
        try:
            self._send(due)
        except Exception:  # the peer is away or busy: perhaps not the next time
            given_up = self._now() - due.created_at >= KEEP
            log.exception(
                "a commitment report was given up" if given_up else "a commitment report could not be delivered",
                extra=logs.fields(peer=due.peer),
            )
            if not given_up:
                wait = backoff(due.tries, *self._retry, self._draw())
                self._catalogue.commitment_again(due, self._now() + wait)
                return
        self._catalogue.commitment_settled(due)

    def _send(self, due: CommitmentDue) -> None:
        peer = self._peers.get(due.peer)
        if peer is None:
            raise LookupError("the peer is not configured any more")
        request = decode(unseal(due.request, self._key, _context(due.peer)))
        event, information = self._report(request)
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

    def _report(self, request: Request) -> tuple[int, Dataset]:
        digests = {reference: self._digest(reference.sop_instance_uid) for reference in request.references}
        known = self._catalogue.received_digests(digests.values())
        return report(request, lambda reference: digests[reference] in known)


def _context(peer: str) -> bytes:
    return b"commitment " + peer.encode()
