"""What pixel data carry besides the picture: bytes behind the last pixel, comments in a compressed stream.

The picture itself stays byte for byte.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

from pydicom import Dataset

from client_plugin.archive import reading

_ITEM = b"\xfe\xff\x00\xe0"
_SOS, _COM = 0xDA, 0xFE
#: APPn segments that decoders read: JFIF (0), ICC profile (2), SPIFF and JPEG-LS (8), Adobe's colour transform (14).
_APP_KEPT = {0xE0: b"JFIF", 0xE8: b"SPIFF", 0xEE: b"Adobe"}
#: Between scans: in entropy-coded data 0xFF is never followed by such a byte (ISO 10918-1 B.1.1.5, ISO 14495-1 A.1).
_SCAN_COMMENT = re.compile(rb"\xff[\xfe\xe0-\xef]")
_J2K_SOC, _J2K_SOT, _J2K_COM = b"\xff\x4f", 0x90, 0x64
_BITS = {0x7FE00008: 32, 0x7FE00009: 64}


def trimmed(source: Dataset, value: bytes, *, undefined_length: bool) -> bytes:
    """Pixel data without what is no pixel.

    Parameters
    ----------
    source : Dataset
        The data set the value belongs to: its size is computed from the Image Pixel Module.
    undefined_length : bool
        The value is encapsulated (PS3.5 A.4).
    """
    if undefined_length:
        return _encapsulated(value)
    expected = _expected_length(source)
    if expected is None or len(value) <= expected + expected % 2:
        return value
    return value[:expected] + bytes(expected % 2)


def _expected_length(source: Dataset) -> int | None:
    """Bytes of native pixel data (PS3.5 8.1.1), or None where the attributes do not tell."""
    try:
        bits, rows, columns = (reading.number(source, keyword) for keyword in ("BitsAllocated", "Rows", "Columns"))
        frames = reading.number(source, "NumberOfFrames") or 1
        samples = reading.number(source, "SamplesPerPixel") or 1
    except (TypeError, ValueError):
        return None
    if bits is None or rows is None or columns is None:
        return None
    pixels = rows * columns * frames * samples
    if samples == 3 and "422" in str(source.get("PhotometricInterpretation")):
        pixels = pixels // 3 * 2
    return (pixels * bits + 7) // 8


def _encapsulated(value: bytes) -> bytes:
    """Blank the comments in every fragment; lengths and offsets stay."""
    changed = bytearray(value)
    position = 0
    while position + 8 <= len(value) and value[position : position + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", value, position + 4)
        start, end = position + 8, min(position + 8 + length, len(value))
        if value[start : start + 2] == _J2K_SOC:
            _blank_header(changed, start + 2, end, _is_j2k_comment, _J2K_SOT)
        elif value[start : start + 2] == b"\xff\xd8":
            scan = _blank_header(changed, start + 2, end, _is_jpeg_comment, _SOS)
            for marker in _SCAN_COMMENT.finditer(value, scan, end):
                _blank_segment(changed, marker.start(), end, _is_jpeg_comment)
            _blank_behind(changed, start, end)
        position = start + length
    del changed[position:]
    return bytes(changed)


def _is_jpeg_comment(marker: int, content: bytes) -> bool:
    if marker == _COM:
        return True
    return 0xE0 <= marker <= 0xEF and not content.startswith(_APP_KEPT.get(marker, b"\0no such"))


def _is_j2k_comment(marker: int, content: bytes) -> bool:
    return marker == _J2K_COM


def _blank_segment(data: bytearray, position: int, end: int, is_comment: Callable[[int, bytes], bool]) -> int:
    """Overwrite with zeros the content of a marker segment that is a comment; returns where the next one starts."""
    marker = data[position + 1]
    (length,) = struct.unpack_from(">H", data, position + 2)
    content = slice(position + 4, min(position + 2 + length, end))
    if is_comment(marker, bytes(data[content])):
        data[content] = bytes(content.stop - content.start)
    return position + 2 + length


def _blank_header(data: bytearray, position: int, end: int, is_comment: Callable[[int, bytes], bool], stop: int) -> int:
    """Go through the marker segments up to the marker ``stop``; returns its position."""
    while position + 4 <= end and data[position] == 0xFF and data[position + 1] != stop:
        position = _blank_segment(data, position, end, is_comment)
    return position


def _blank_behind(data: bytearray, start: int, end: int) -> None:
    """Overwrite with zeros what stands behind the end of a JPEG stream in its fragment."""
    last = data.rfind(b"\xff\xd9", start, end)
    if last >= 0:
        data[last + 2 : end] = bytes(end - last - 2)
