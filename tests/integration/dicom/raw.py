"""A C-STORE requestor that sends the bytes it is given as the data set, whatever they are."""

from __future__ import annotations

from io import BytesIO

from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"


def associate(port: int, contexts: list[tuple[str, str]], calling: str = "PACS") -> Association:
    """An association that proposes each (SOP class, transfer syntax) in a presentation context of its own."""
    entity = AE(calling)
    entity.dimse_timeout = entity.network_timeout = entity.acse_timeout = 30
    proposed = [build_context(sop_class, syntax) for sop_class, syntax in contexts]
    return entity.associate("127.0.0.1", port, contexts=proposed, ae_title="FEDPACS")


def context_for(association: Association, sop_class: str, syntax: str) -> int | None:
    """ID of the accepted context, or None."""
    for context in association.accepted_contexts:
        if context.abstract_syntax == sop_class and context.transfer_syntax[0] == syntax:
            return context.context_id
    return None


def store(association: Association, context_id: int, sop_class: str, uid: str, data: bytes) -> int | None:
    """Send a C-STORE; the status of the answer, or None if there was none."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = sop_class
    request.AffectedSOPInstanceUID = uid
    request.DataSet = BytesIO(data)
    association._reactor_checkpoint.clear()
    while not association._is_paused:
        pass
    try:
        association.dimse.send_msg(request, context_id)
        _, answer = association.dimse.get_msg(block=True)
    finally:
        association._reactor_checkpoint.set()
    return None if answer is None else answer.Status


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    """A short element in explicit VR little endian."""
    value += b"\0" * (len(value) % 2)
    tag = group.to_bytes(2, "little") + number.to_bytes(2, "little")
    return tag + vr + len(value).to_bytes(2, "little") + value


def named(uid: str, rest: bytes = b"", sop_class: str = CT) -> bytes:
    """A data set with its two names and ``rest``."""
    return element(8, 0x16, b"UI", sop_class.encode()) + element(8, 0x18, b"UI", uid.encode()) + rest
