"""Calling a peer: one association, with the configured titles, timeouts and TLS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from typing import Any

import pynetdicom
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from client_plugin.config import ConfigError, DicomPeer, NodeConfig
from client_plugin.dicom.tls import client_context
from client_plugin.intake.spool import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION

CONNECT_TIMEOUT = 15.0
"""Seconds for the TCP connection (and TLS) to a peer."""


class CallFailure(StrEnum):
    """Why a peer could not be called. `REJECTED` is the peer's decision; the others may pass."""

    UNREACHABLE = "unreachable"
    """No connection, no answer in time, or no agreement on TLS."""
    REJECTED = "rejected"
    """It does not accept associations from our AE title."""
    BUSY = "busy"
    """It rejected the association for now."""
    NO_CONTEXT = "no-context"
    """It accepted none of the presentation contexts that are needed."""


class CallFailed(ConnectionError):  # noqa: N818 - the call is what failed
    """A peer could not be called; ``failure`` is the reason."""

    def __init__(self, peer: DicomPeer, failure: CallFailure) -> None:
        super().__init__(f"{peer.ae_title} at {peer.host}:{peer.port}: {failure.value}")
        self.failure = failure


@contextmanager
def association(
    config: NodeConfig,
    peer: DicomPeer,
    contexts: Sequence[PresentationContext],
    *,
    negotiation: Sequence[Any] = (),
    handlers: Sequence[Any] = (),
    timeout: float | None = None,
) -> Iterator[Association]:
    """An established association with ``peer``, released at the end (aborted if the block raises).

    Parameters
    ----------
    contexts
        What to propose, at most 128.
    negotiation
        Extended negotiation items, for example role selection.
    handlers
        pynetdicom's event handlers.
    timeout
        Seconds for connection, association and each answer, instead of the configured ones.

    Raises
    ------
    ConfigError
        The peer has no host and port, or wants TLS and there is no ``dicom.tls``.
    CallFailed
        It could not be called.
    """
    if peer.host is None or peer.port is None:
        raise ConfigError(f"{peer.ae_title} cannot be called: give host and port in dicom.peers")
    pynetdicom._config.LOG_HANDLER_LEVEL = "none"
    entity = AE(config.dicom.ae_title)
    entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    entity.implementation_version_name = IMPLEMENTATION_VERSION
    entity.connection_timeout = timeout or CONNECT_TIMEOUT
    entity.acse_timeout = timeout or config.dicom.acse_timeout
    entity.dimse_timeout = timeout or config.dicom.dimse_timeout
    entity.network_timeout = timeout or config.dicom.network_timeout
    established = entity.associate(
        peer.host,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        ext_neg=list(negotiation),
        evt_handlers=list(handlers),
        tls_args=(client_context(config), peer.host) if peer.tls else None,
    )
    if not established.is_established:
        raise CallFailed(peer, _failure(established))
    try:
        yield established
    except BaseException:
        established.abort()
        raise
    if established.is_established:
        established.release()


def _failure(attempt: Association) -> CallFailure:
    answer = attempt.acceptor.primitive
    if attempt.is_rejected and answer is not None:
        return CallFailure.BUSY if answer.result == 0x02 else CallFailure.REJECTED
    if answer is not None and answer.result == 0x00:
        return CallFailure.NO_CONTEXT
    return CallFailure.UNREACHABLE
