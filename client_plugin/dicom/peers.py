"""Who may call us: a pure decision over an association request.

An association is accepted from a configured peer only: its calling AE title *and* the address it calls from must
belong to the same entry. AE titles are compared without leading and trailing spaces (PS3.5, VR AE) and with case.

What this does not protect against: AE titles are not secret and addresses can be spoofed on a network that lets
them; mutual TLS (``dicom.tls``) is what authenticates a peer.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from client_plugin.config import DicomPeer
from client_plugin.metrics.labels import Reject

_PERMANENT, _TRANSIENT = 1, 2
_USER, _PRESENTATION = 1, 3

A_ASSOCIATE_RJ: dict[Reject, tuple[int, int, int]] = {
    Reject.UNKNOWN_CALLED_AE: (_PERMANENT, _USER, 7),
    Reject.UNKNOWN_CALLING_AE: (_PERMANENT, _USER, 3),
    Reject.UNKNOWN_ADDRESS: (_PERMANENT, _USER, 3),
    Reject.TOO_MANY: (_TRANSIENT, _PRESENTATION, 2),
    Reject.DISK_LOW: (_TRANSIENT, _PRESENTATION, 1),
}
"""Result, source and diagnostic of the A-ASSOCIATE-RJ (PS3.8, table 9-21) for each reason that `admit` gives."""


@dataclass(frozen=True)
class Call:
    """An association request, as far as admission looks at it."""

    called_ae: str
    calling_ae: str
    address: str


@dataclass(frozen=True)
class Load:
    """The state of the listener when the request arrives."""

    associations: int
    max_associations: int
    free_bytes: int
    min_free_bytes: int


def admit(call: Call, load: Load, *, ae_title: str, peers: Iterable[DicomPeer]) -> DicomPeer | Reject:
    """Decide about one association request.

    Parameters
    ----------
    call
        Who calls whom, from where.
    load
        How busy the process is, *not* counting this request, and how full its disk.
    ae_title
        Our own AE title; a call for another one is rejected.
    peers
        The configured peers.

    Returns
    -------
    DicomPeer or Reject
        The peer that was recognized, or why not; `A_ASSOCIATE_RJ` says how to tell the caller.
        Permanent reasons come first: who is not welcome learns nothing about our load.
    """
    if call.called_ae.strip() != ae_title.strip():
        return Reject.UNKNOWN_CALLED_AE
    named = [peer for peer in peers if peer.ae_title.strip() == call.calling_ae.strip()]
    if not named:
        return Reject.UNKNOWN_CALLING_AE
    peer = next((peer for peer in named if calls_from(peer, call.address)), None)
    if peer is None:
        return Reject.UNKNOWN_ADDRESS
    if load.associations >= load.max_associations:
        return Reject.TOO_MANY
    if load.free_bytes < load.min_free_bytes:
        return Reject.DISK_LOW
    return peer


def calls_from(peer: DicomPeer, address: str) -> bool:
    """Whether ``address`` (IPv4 or IPv6, as a socket gives it) is one of the peer's."""
    caller = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(caller, ipaddress.IPv6Address) and caller.ipv4_mapped:
        caller = caller.ipv4_mapped  # a dual-stack socket shows IPv4 callers so
    return any(caller in ipaddress.ip_network(network, strict=False) for network in peer.addresses)
