"""One process of the DICOM listener: C-ECHO and C-STORE from the configured peers.

Several such processes share a port: the node hands the same listening socket to each. Started on its own
(``python -m client_plugin.dicom.listener --kit KIT``) a process binds the port itself, with ``SO_REUSEPORT``, so that
others may join it.
"""

from __future__ import annotations

import gc
import logging
import socket
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import pynetdicom
from pynetdicom import AE, evt

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.database import CatalogueUnusable
from client_plugin.archive.keys import KeyUnusable, SiteKeys
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.c_store import StoreRequest
from client_plugin.dicom.negotiation import accepted_contexts
from client_plugin.dicom.peers import A_ASSOCIATE_RJ, Call, Load, admit
from client_plugin.dicom.reporting import Reporting
from client_plugin.dicom.status import StoreStatus
from client_plugin.dicom.storing import SpoolSink, Store
from client_plugin.dicom.tls import server_context
from client_plugin.dicom.upper_layer import MAX_PDU, ReceivingAssociation, ReceivingServer
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.process import Stopping, arguments
from client_plugin.intake.spool import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION, Origin, Spool
from client_plugin.intake.sweep import sweep
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import AssociationEnd, Reject
from observability import logs

log = logging.getLogger("client_plugin.dicom.listener")  # not __main__, which is nobody's logger

_LOOK = 0.5  # seconds between looks at whether this process can still do its work


class Listener:
    """Serves associations on a listening socket until it is drained.

    Parameters
    ----------
    config
        The node's configuration.
    listening
        A bound socket; it may be shared with other processes.
    store, spool
        What answers C-STORE, and where it writes.
    commitment
        What answers storage commitment requests.
    tls
        For every connection; None: in clear.
    """

    def __init__(
        self,
        config: NodeConfig,
        listening: socket.socket,
        store: Store,
        spool: Spool,
        commitment: Reporting,
        tls: ssl.SSLContext | None,
    ) -> None:
        pynetdicom._config.LOG_HANDLER_LEVEL = "none"  # its log lines quote what peers send
        self._config = config
        self._store = store
        self._spool = spool
        self._commitment = commitment
        self._cut: frozenset[ReceivingAssociation] = frozenset()
        entity = AE(config.dicom.ae_title)
        entity.acse_timeout = config.dicom.acse_timeout
        entity.dimse_timeout = config.dicom.dimse_timeout
        entity.network_timeout = config.dicom.network_timeout
        entity.maximum_pdu_size = MAX_PDU
        entity.maximum_associations = config.dicom.max_associations
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION
        self._server = ReceivingServer(
            entity,
            listening,
            self,
            tls,
            [
                (evt.EVT_REQUESTED, self._on_requested),
                (evt.EVT_C_ECHO, self._on_echo),
                (evt.EVT_N_ACTION, self._on_action),
            ],
        )

    def serve(self) -> None:
        """Accept associations until `drain`."""
        self._server.serve_forever(poll_interval=0.1)

    def drain(self, timeout: float) -> int:
        """Accept no more; wait for running associations.

        Returns
        -------
        int
            How many were still running after ``timeout`` seconds and were aborted.
        """
        self._server.stop_listening()
        deadline = time.monotonic() + timeout
        while (running := self._server.active_associations) and time.monotonic() < deadline:
            time.sleep(0.02)
        self._cut = frozenset(running)
        for association in running:
            association.abort()
        return len(running)

    def _on_requested(self, event: Any) -> None:
        association = event.assoc
        request = association.requestor.primitive
        call = Call(request.called_ae_title, request.calling_ae_title, association.requestor.address)
        load = Load(
            associations=len(self._server.active_associations) - 1,
            max_associations=self._config.dicom.max_associations,
            free_bytes=self._spool.free_bytes(),
            min_free_bytes=self._config.intake.min_free_bytes,
        )
        decision = admit(call, load, ae_title=self._config.dicom.ae_title, peers=self._config.dicom.peers)
        if isinstance(decision, Reject):
            metrics.ASSOCIATION_REJECTS.inc(decision)
            log.warning("association rejected", extra=logs.fields(reason=decision, association=association.number))
            association.acse.send_reject(*A_ASSOCIATE_RJ[decision])
            association.kill()  # returns when the rejection is on the wire
            return
        association.peer = decision.ae_title
        association.acceptor.supported_contexts = accepted_contexts(request.presentation_context_definition_list)
        metrics.ASSOCIATIONS_ACCEPTED.inc()
        metrics.ASSOCIATIONS_OPEN.inc()
        log.info("association accepted", extra=logs.fields(peer=association.peer, association=association.number))

    def ended(self, assoc: ReceivingAssociation) -> None:
        """Count the end of an association."""
        if assoc.peer is not None:
            end = self._end(assoc)
            metrics.ASSOCIATIONS_OPEN.dec()
            metrics.ASSOCIATIONS_ENDED.inc(end)
            log.info("association ended", extra=logs.fields(peer=assoc.peer, outcome=end, association=assoc.number))

    def _end(self, assoc: ReceivingAssociation) -> AssociationEnd:
        if assoc.is_released:
            return AssociationEnd.RELEASED
        if assoc.dul.idle_timer_expired():
            return AssociationEnd.TIMED_OUT
        return AssociationEnd.DRAINED if assoc in self._cut else AssociationEnd.ABORTED

    def refused(self, error: BaseException) -> None:
        """Count a connection that did not get as far as an association request."""
        reason = Reject.TLS if isinstance(error, ssl.SSLError) else Reject.PROTOCOL
        metrics.ASSOCIATION_REJECTS.inc(reason)
        log.warning("connection refused", extra=logs.fields(reason=reason))

    @staticmethod
    def _on_echo(_event: Any) -> int:
        return StoreStatus.SUCCESS

    def _on_action(self, event: Any) -> tuple[int, None]:
        return self._commitment.request(event.assoc.peer, event.action_type, lambda: event.action_information), None

    def open(self, assoc: ReceivingAssociation, request: StoreRequest, context_id: int) -> SpoolSink:
        """A sink in the spool for the instance that a C-STORE command announces."""
        context = assoc._accepted_cx.get(context_id)
        if context is None:
            raise ValueError("a data set in a presentation context that was not accepted")
        return self._store.begin(
            Origin(
                sop_class_uid=request.sop_class_uid,
                sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=str(context.transfer_syntax[0]),
                source_ae=assoc.peer or "",
            )
        )

    def answer(self, assoc: ReceivingAssociation, sink: Any, context_id: int) -> int:
        """Make the instance durable; the status of the C-STORE response."""
        if sink is None:  # a command without a data set
            return StoreStatus.CANNOT_UNDERSTAND
        with logs.bound(association=assoc.number):
            try:
                return self._store.answer(sink, str(assoc._accepted_cx[context_id].abstract_syntax))
            except Exception:
                log.exception("a C-STORE could not be answered")
                sink.discard()
                return StoreStatus.CANNOT_UNDERSTAND


def bind(config: NodeConfig) -> socket.socket:
    """A listening socket on the configured address, shareable with other processes (``SO_REUSEPORT``).

    Raises
    ------
    OSError
        The port is in use by somebody else, or the address is not this machine's.
    """
    return socket.create_server(
        (config.dicom.host, config.dicom.port),
        family=socket.AF_INET6 if ":" in config.dicom.host else socket.AF_INET,
        backlog=128,
        reuse_port=True,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one listener process until SIGTERM or the death of its parent."""
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--listening", type=int, help="descriptor of an inherited listening socket")
    options = parser.parse_args(argv)
    stopping = Stopping(options.supervisor)
    try:
        config = NodeConfig.load(options.kit)
        tls = server_context(config)
        listening = socket.socket(fileno=options.listening) if options.listening is not None else bind(config)
        catalogue = Catalogue.open(config.catalogue_url)
        key = SiteKeys.open(config).derive("spool")
        spool = Spool(config.spool, key)
    except (ConfigError, KeyUnusable, CatalogueUnusable, OSError) as error:
        print(f"listener: {error}", file=sys.stderr)
        return 2
    logs.configure("listener", config.site, config.root / "logs")
    sweep(spool, catalogue)
    committer = GroupCommitter(spool, catalogue)
    store = Store(spool, committer, catalogue, config.intake.min_free_bytes)
    commitment = Reporting(config, catalogue, key=key, digest=spool.uid_digest)
    listener = Listener(config, listening, store, spool, commitment, tls)
    serving = threading.Thread(target=listener.serve, name="accept", daemon=True)
    serving.start()
    commitment.start()
    gc.freeze()  # what is loaded by now stays: not to be looked through again for every few instances
    stopping.ready()
    while not (failed := committer.broken.is_set() or not serving.is_alive()) and not stopping.event.wait(_LOOK):
        pass
    if failed:  # a process that can only refuse ends, and is started again by the node
        log.error("the listener cannot go on: its disk failed, or it accepts no more connections")
    aborted = listener.drain(config.dicom.drain_timeout)
    serving.join()
    commitment.close()
    spool.close()
    log.info("listener stopped", extra=logs.fields(count=aborted))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
