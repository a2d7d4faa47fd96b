"""Preamble, prefix and File Meta Information (PS3.10, section 7.1), encoded."""

from __future__ import annotations

import struct
from collections.abc import Iterable

_PREAMBLE = bytes(128) + b"DICM"
_ELEMENT, _SHORT, _LONG = struct.Struct("<HH2s"), struct.Struct("<H"), struct.Struct("<2xI")


def encode(elements: Iterable[tuple[int, str, str | bytes]]) -> bytes:
    """The start of a DICOM file; an empty preamble, the group length, and ``elements`` as they come.

    Parameters
    ----------
    elements
        Element number of group 0002, VR (OB, UI, SH or AE), value. Whatever a peer calls a UID is at most 64
        characters by now.
    """
    body = b"".join(_element(number, vr, value) for number, vr, value in elements)
    return _PREAMBLE + _element(0x0000, "UL", struct.pack("<I", len(body))) + body


def _element(number: int, vr: str, value: str | bytes) -> bytes:
    """Element (0002,number) in explicit VR little endian."""
    encoded = value if isinstance(value, bytes) else value.encode("ascii", "replace")
    encoded += (b"\0" if vr in ("UI", "OB") else b" ") * (len(encoded) % 2)
    length = (_LONG if vr == "OB" else _SHORT).pack(len(encoded))
    return _ELEMENT.pack(0x0002, number, vr.encode()) + length + encoded
