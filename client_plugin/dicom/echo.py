"""C-ECHO (PS3.4 annex A): whether a peer can be reached, asked once or kept under watch."""

from __future__ import annotations

import logging
import threading
from enum import StrEnum

from pynetdicom import build_context
from pynetdicom.sop_class import Verification

from client_plugin.config import DicomPeer, NodeConfig
from client_plugin.dicom.calling import CallFailed, CallFailure, association
from client_plugin.metrics import instruments as metrics
from observability import logs

log = logging.getLogger(__name__)

SUCCESS = 0x0000
TIMEOUT = 10.0


class Echo(StrEnum):
    """How a peer took a C-ECHO."""

    ANSWERED = "answered"
    FAILED = "failed"
    """It accepted the association, not the C-ECHO."""
    REJECTED = "rejected"
    """It does not accept associations from our AE title."""
    UNREACHABLE = "unreachable"
    """No connection, no answer in time, or no agreement on TLS."""


def echo(config: NodeConfig, peer: DicomPeer, timeout: float = TIMEOUT) -> Echo:
    """Ask ``peer`` once.

    Parameters
    ----------
    peer
        With ``host`` and ``port``.
    timeout
        Seconds for each of connection, association and answer.

    Raises
    ------
    ConfigError
        The peer has no host and port, or wants TLS and ``dicom.tls`` is not configured.
    """
    try:
        with association(config, peer, [build_context(Verification)], timeout=timeout) as established:
            status = established.send_c_echo()
    except CallFailed as error:
        unreachable = error.failure is CallFailure.UNREACHABLE
        return Echo.UNREACHABLE if unreachable else Echo.REJECTED
    return Echo.ANSWERED if status and status.Status == SUCCESS else Echo.FAILED


class PeerWatch:
    """Asks every peer that can be called, again and again, and shows the answers as ``fedpacs_peer_up``.

    Parameters
    ----------
    config
        The node's; ``metrics.echo_seconds`` is the time between two rounds.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._interval = config.metrics.echo_seconds
        self._peers = [peer for peer in config.dicom.peers if peer.host is not None and peer.port is not None]
        self._last: dict[str, Echo] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="peer-watch", daemon=True)

    def start(self) -> None:
        if self._peers:
            self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)  # it may wait for a peer; it is a daemon and changes nothing

    def look(self) -> None:
        """Ask each peer once; a change is an event in the log."""
        for peer in self._peers:
            try:
                outcome = echo(self._config, peer)
            except (OSError, ValueError, RuntimeError):
                log.exception("a peer could not be called", extra=logs.fields(peer=peer.ae_title))
                outcome = Echo.UNREACHABLE
            metrics.PEER_UP.set(peer.ae_title, 1.0 if outcome is Echo.ANSWERED else 0.0)
            if self._last.get(peer.ae_title) is not outcome:
                level = logging.INFO if outcome is Echo.ANSWERED else logging.WARNING
                log.log(level, "peer looked at", extra=logs.fields(peer=peer.ae_title, outcome=outcome))
            self._last[peer.ae_title] = outcome

    def _run(self) -> None:
        while not self._stop.is_set():
            self.look()
            self._stop.wait(self._interval)
