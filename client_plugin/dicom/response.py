"""The C-STORE response, encoded without a detour: a P-DATA-TF PDU (PS3.8, 9.3.5) with one command set (PS3.7, 9.3.1.2).

Every instance waits for this message, and a general encoder takes longer for it than sealing half a megabyte.
"""

from __future__ import annotations

import struct

_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101
_COMMAND_LAST = 0x03  # message control header: command, last fragment


def c_store_response(context_id: int, message_id: int, sop_class_uid: str, sop_instance_uid: str, status: int) -> bytes:
    """The PDU that answers a C-STORE request.

    Parameters
    ----------
    context_id
        Presentation context of the request.
    message_id, sop_class_uid, sop_instance_uid
        As in the request.
    status
        See `client_plugin.dicom.status.StoreStatus`.
    """
    elements = b"".join(
        (
            _uid(0x0002, sop_class_uid),  # Affected SOP Class UID
            _us(0x0100, _C_STORE_RSP),  # Command Field
            _us(0x0120, message_id),  # Message ID Being Responded To
            _us(0x0800, _NO_DATA_SET),  # Command Data Set Type
            _us(0x0900, status),  # Status
            _uid(0x1000, sop_instance_uid),  # Affected SOP Instance UID
        )
    )
    command = struct.pack("<HHII", 0x0000, 0x0000, 4, len(elements)) + elements
    value = struct.pack(">IBB", len(command) + 2, context_id, _COMMAND_LAST) + command
    return struct.pack(">BxI", 0x04, len(value)) + value


def _us(element: int, value: int) -> bytes:
    return struct.pack("<HHIH", 0x0000, element, 2, value)


def _uid(element: int, value: str) -> bytes:
    encoded = value.encode("ascii", "replace")
    encoded += b"\0" * (len(encoded) % 2)
    return struct.pack("<HHI", 0x0000, element, len(encoded)) + encoded
