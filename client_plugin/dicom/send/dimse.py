"""Delivery by C-STORE (PS3.4 annex B), as its SCU."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext

from client_plugin.config import DicomPeer, NodeConfig
from client_plugin.dicom.calling import CallFailed, CallFailure, association
from client_plugin.dicom.send.outbox import SendReason

MAX_CONTEXTS = 128
"""Presentation contexts in an association (PS3.8: odd identifiers of one byte)."""

_CALLS = {
    CallFailure.UNREACHABLE: SendReason.UNREACHABLE,
    CallFailure.REJECTED: SendReason.REJECTED,
    CallFailure.BUSY: SendReason.OUT_OF_RESOURCES,
    CallFailure.NO_CONTEXT: SendReason.NOT_SUPPORTED,
}


class DimseDelivery:
    """Delivers to a configured peer, over one association for a whole batch."""

    def __init__(self, config: NodeConfig, peer: DicomPeer) -> None:
        self._config = config
        self._peer = peer

    def deliver(self, batch: Sequence[FileDataset]) -> list[SendReason | None]:
        """Send each instance; what went wrong with each, or None."""
        outcomes: list[SendReason | None] = []
        try:
            with association(self._config, self._peer, contexts(batch)) as opened:
                outcomes += [_store(opened, instance) for instance in batch]
        except CallFailed as failed:
            return [_CALLS[failed.failure]] * len(batch)
        return outcomes


def contexts(batch: Sequence[FileDataset]) -> list[PresentationContext]:
    """What to propose for a batch: each SOP class in its transfer syntax; uncompressed ones in either of two."""
    proposed: dict[tuple[str, ...], PresentationContext] = {}
    for instance in batch:
        sop_class, syntax = str(instance.SOPClassUID), instance.file_meta.TransferSyntaxUID
        syntaxes = [str(syntax)]
        if not syntax.is_encapsulated and not syntax.is_deflated:
            syntaxes = [str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian)]
        proposed.setdefault((sop_class, *syntaxes), build_context(sop_class, syntaxes))
    return list(proposed.values())[:MAX_CONTEXTS]


def outcome(status: int) -> SendReason | None:
    """What a status of C-STORE means (PS3.4, table B.2-1); warnings are successes.

    Examples
    --------
    >>> outcome(0x0000), outcome(0xB007), outcome(0xA701), outcome(0xC123)
    (None, None, <SendReason.OUT_OF_RESOURCES: 'destination-out-of-resources'>, <SendReason.REFUSED: 'refused'>)
    """
    if status == 0x0000 or status & 0xF000 == 0xB000:
        return None
    if status & 0xFF00 == 0xA700:
        return SendReason.OUT_OF_RESOURCES
    return {0x0122: SendReason.NOT_SUPPORTED, 0x0124: SendReason.NOT_AUTHORISED}.get(status, SendReason.REFUSED)


def _store(opened: Association, instance: FileDataset) -> SendReason | None:
    if not opened.is_established:
        return SendReason.LOST
    try:
        status = opened.send_c_store(instance)
    except ValueError:  # no accepted presentation context fits
        return SendReason.NOT_SUPPORTED
    except RuntimeError:  # the association ended meanwhile
        return SendReason.LOST
    return outcome(status.Status) if "Status" in status else SendReason.LOST
