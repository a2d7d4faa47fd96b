"""The two UIDs at the start of an encoded data set, read without trusting a byte of it.

A C-STORE names the instance twice: in its command, and in the data set. An instance that names itself otherwise, or
not at all, must not be answered with success. The SOP Class UID (0008,0016) and SOP Instance UID (0008,0018) are
among the first elements of every data set (elements are sorted by tag), so a few kilobytes decide; nothing is
allocated by a length that a peer wrote.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from enum import Enum

HEAD_SIZE = 64 << 10
"""Bytes of a data set that are enough; a longer group 0008 before the UIDs is left to the worker."""

_SOP_CLASS = (0x0008, 0x0016)
_SOP_INSTANCE = (0x0008, 0x0018)
_IMPLICIT = "1.2.840.10008.1.2"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
DEFLATED = {"1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
_LONG_VRS = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_UNDEFINED = 0xFFFFFFFF
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


class Naming(Enum):
    """How a data set names itself, compared with the command that brought it."""

    AGREES = "agrees"
    UNDECIDED = "undecided"
    """Not within the head, or behind a sequence of undefined length: the worker sees."""
    MISSING = "missing"
    DIFFERS = "differs"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class Named:
    """SOP class and instance, as a C-STORE command names them."""

    sop_class_uid: str
    sop_instance_uid: str


def valid_uid(value: str) -> bool:
    """Whether ``value`` is a UID we take: digits and dots, up to 64 characters (PS3.5, section 9).

    Leading zeros, which the standard forbids, are let through: old equipment writes them.

    Examples
    --------
    >>> valid_uid("1.2.840.10008.1.2"), valid_uid("../../etc/passwd"), valid_uid("1..2")
    (True, False, False)
    """
    return len(value) <= 64 and _UID.fullmatch(value) is not None


def naming(head: bytes, transfer_syntax: str, command: Named) -> Naming:
    """Compare the UIDs at the start of a data set with the command's.

    Parameters
    ----------
    head
        The first bytes of the data set as it was sent, at most `HEAD_SIZE`.
    transfer_syntax
        UID of its encoding.
    command
        The UIDs of the C-STORE request.
    """
    if transfer_syntax in DEFLATED and (inflated := _inflate(head)) is not None:
        head = inflated
    try:
        found = _walk(head, implicit=transfer_syntax == _IMPLICIT, order=">" if transfer_syntax == _BIG_ENDIAN else "<")
    except _NotADataSetError:
        return Naming.UNREADABLE
    except _BeyondHeadError as stopped:
        return Naming.UNDECIDED if len(head) >= HEAD_SIZE or stopped.undefined else Naming.UNREADABLE
    values = found.get(_SOP_CLASS, ""), found.get(_SOP_INSTANCE, "")
    if not all(values):
        return Naming.MISSING
    return Naming.AGREES if values == (command.sop_class_uid, command.sop_instance_uid) else Naming.DIFFERS


class _NotADataSetError(Exception):
    pass


class _BeyondHeadError(Exception):
    def __init__(self, *, undefined: bool) -> None:
        self.undefined = undefined


def _inflate(head: bytes) -> bytes | None:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(head, HEAD_SIZE)
    except zlib.error:
        return None


def _walk(head: bytes, *, implicit: bool, order: str) -> dict[tuple[int, int], str]:
    """The UIDs found before the first element behind them; elements must come in ascending order."""
    found: dict[tuple[int, int], str] = {}
    position, previous = 0, (0, 0)
    while position < len(head):
        if len(head) - position < 8:
            raise _BeyondHeadError(undefined=False)
        tag = struct.unpack_from(f"{order}HH", head, position)
        if tag <= previous or tag[0] < 0x0008:
            raise _NotADataSetError
        if tag > _SOP_INSTANCE:
            break
        previous = tag
        position, length = _length(head, position, implicit=implicit, order=order)
        if length == _UNDEFINED:
            raise _BeyondHeadError(undefined=True)
        if position + length > len(head):
            raise _BeyondHeadError(undefined=False)
        if tag in (_SOP_CLASS, _SOP_INSTANCE):
            found[tag] = head[position : position + length].decode("latin-1").rstrip("\0 ")
        position += length
    return found


def _length(head: bytes, position: int, *, implicit: bool, order: str) -> tuple[int, int]:
    """Where the value of the element at ``position`` starts, and its length."""
    if implicit:
        return position + 8, struct.unpack_from(f"{order}I", head, position + 4)[0]
    vr = head[position + 4 : position + 6]
    if not (vr.isalpha() and vr.isupper()):
        raise _NotADataSetError
    if vr not in _LONG_VRS:
        return position + 8, struct.unpack_from(f"{order}H", head, position + 6)[0]
    if len(head) - position < 12:
        raise _BeyondHeadError(undefined=False)
    return position + 12, struct.unpack_from(f"{order}I", head, position + 8)[0]
