"""The command sets of C-STORE (PS3.7, 9.3.1), read and written without a detour.

Every instance waits for these two; a general decoder and encoder of data sets takes longer for them than sealing half
a megabyte.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

_C_STORE_RQ, _C_STORE_RSP = 0x0001, 0x8001
_NO_DATA_SET = 0x0101
_COMMAND_LAST = 0x03  # message control header: command, last fragment
_FIELD, _MESSAGE_ID, _DATA_SET_TYPE = 0x0100, 0x0110, 0x0800
_SOP_CLASS, _SOP_INSTANCE = 0x0002, 0x1000


@dataclass(frozen=True)
class StoreRequest:
    """What a C-STORE-RQ says. UIDs are as the peer wrote them, and at most 64 characters."""

    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_data_set: bool


def store_request(command: bytes) -> StoreRequest | None:
    """The C-STORE-RQ in an encoded command set (implicit VR little endian), or None if it is another command.

    Raises
    ------
    ValueError
        It is no command set, or a C-STORE-RQ without its mandatory parameters.
    """
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(command):
        if len(command) - position < 8:
            raise ValueError("a command set that ends within an element")
        group, element, length = struct.unpack_from("<HHI", command, position)
        position += 8
        if group != 0x0000 or length > len(command) - position:
            raise ValueError("not a command set")
        elements[element] = command[position : position + length]
        position += length
    if _number(elements.get(_FIELD)) != _C_STORE_RQ:
        return None
    message_id, data_set_type = _number(elements.get(_MESSAGE_ID)), _number(elements.get(_DATA_SET_TYPE))
    names = [elements.get(element, b"").decode("latin-1").rstrip("\0 ") for element in (_SOP_CLASS, _SOP_INSTANCE)]
    if message_id is None or data_set_type is None or not all(0 < len(name) <= 64 for name in names):
        raise ValueError("a C-STORE-RQ without its mandatory parameters")
    return StoreRequest(message_id, names[0], names[1], data_set_type != _NO_DATA_SET)


def _number(value: bytes | None) -> int | None:
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def store_response(context_id: int, request: StoreRequest, status: int) -> bytes:
    """The P-DATA-TF PDU (PS3.8, 9.3.5) that answers a C-STORE-RQ.

    Parameters
    ----------
    context_id
        Presentation context of the request.
    status
        See `client_plugin.dicom.status.StoreStatus`.
    """
    elements = b"".join(
        (
            _uid(_SOP_CLASS, request.sop_class_uid),  # Affected SOP Class UID
            _us(_FIELD, _C_STORE_RSP),  # Command Field
            _us(0x0120, request.message_id),  # Message ID Being Responded To
            _us(_DATA_SET_TYPE, _NO_DATA_SET),  # Command Data Set Type
            _us(0x0900, status),  # Status
            _uid(_SOP_INSTANCE, request.sop_instance_uid),  # Affected SOP Instance UID
        )
    )
    command = struct.pack("<HHII", 0x0000, 0x0000, 4, len(elements)) + elements
    value = struct.pack(">IBB", len(command) + 2, context_id, _COMMAND_LAST) + command
    return struct.pack(">BxI", 0x04, len(value)) + value


def _us(element: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0x0000, element, 2, value)


def _uid(element: int, value: str) -> bytes:
    encoded = value.encode("latin-1", "replace")
    encoded += b"\0" * (len(encoded) % 2)
    return struct.pack("<HHI", 0x0000, element, len(encoded)) + encoded
