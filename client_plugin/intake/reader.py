"""Reading a received instance that is in memory.

pydicom asks a file object for eight bytes at a time, a third of a worker's work. The elements of a data set in explicit
or implicit VR little endian are cut out here. Those of undefined length are left to pydicom, and so is every file with
anything irregular in it, all other transfer syntaxes, and all decoding.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from io import BytesIO
from typing import Any

import pydicom
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, convert_raw_data_element, empty_value_for_VR
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag
from pydicom.uid import UID, ImplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from client_plugin.archive.reading import TAGS

Elements = dict[BaseTag, Any]

_PREAMBLE, _PREFIX = 128, b"DICM"
_FILE_META, _DATA_SET = 0x0002, 0x0008
_CHARSET, _TRANSFER_SYNTAX = TAGS[0x00080005], TAGS[0x00020010]
_LAST_GROUP = 0xFFFC  # of padding; items and delimiters are not at the top level
_UNDEFINED = 0xFFFFFFFF
_EXPLICIT, _IMPLICIT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<HHI"), struct.Struct("<I")
_VRS = {
    vr.value.encode(): (vr.value, vr.value in EXPLICIT_VR_LENGTH_32, empty_value_for_VR(vr.value, raw=True))
    for vr in VR
    if len(vr.value) == 2
}
"""VR as it is encoded -> VR, whether its length has 32 bits, and what pydicom makes of an empty value."""


class _Irregular(Exception):  # noqa: N818 - not an error: pydicom reads it
    pass


def read(data: bytes) -> FileDataset:
    """A DICOM file (PS3.10), as ``pydicom.dcmread`` reads it; raises what that raises."""
    with suppress(Exception):  # pydicom says what is wrong, or does not mind
        return _read(data)
    return pydicom.dcmread(BytesIO(data))


def _read(data: bytes) -> FileDataset:
    start = _PREAMBLE + len(_PREFIX)
    if data[_PREAMBLE:start] != _PREFIX:
        raise _Irregular
    meta, start = _explicit(data, start, _FILE_META)
    syntax = UID((meta[_TRANSFER_SYNTAX].value or b"").rstrip(b"\0").decode("ascii"))
    implicit = syntax == ImplicitVRLittleEndian
    if implicit == data[start + 4 : start + 6].isupper():  # not as the syntax says
        raise _Irregular
    if not implicit and (not syntax.is_transfer_syntax or syntax.is_deflated or not syntax.is_little_endian):
        raise _Irregular
    elements, end = (_implicit if implicit else _explicit)(data, start, _LAST_GROUP)
    if end != len(data) or next(iter(elements)) >> 16 < _DATA_SET:
        raise _Irregular
    file_meta = FileMetaDataset(meta)
    file_meta.set_original_encoding(is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding)
    ds = FileDataset("", elements, data[:_PREAMBLE], file_meta, implicit, is_little_endian=True)
    ds.set_original_encoding(implicit, is_little_endian=True, character_encoding=_charset(elements))
    return ds


def _explicit(data: bytes, at: int, last_group: int) -> tuple[Elements, int]:
    """The elements up to the first one of a group after ``last_group``, and where that one starts."""
    unpack, long, vrs, tags = _EXPLICIT.unpack_from, _LONG.unpack_from, _VRS, TAGS
    make, end = RawDataElement._make, len(data)
    found: Elements = {}
    while at < end:
        group, element, encoded, length = unpack(data, at)
        if group > last_group:
            break
        number = group << 16 | element
        tag = tags.get(number) or BaseTag(number)
        vr, is_long, empty = vrs[encoded]
        value_at = at + 8
        if is_long:
            (length,) = long(data, value_at)
            value_at += 4
            if length == _UNDEFINED:
                found[tag], at = _undefined(data, at, found, implicit=False)
                continue
        at = value_at + length
        if at > end:
            raise _Irregular
        value = data[value_at:at] if length else empty
        found[tag] = make((tag, vr, length, value, value_at, False, True, True, False))
    return found, at


def _implicit(data: bytes, at: int, last_group: int) -> tuple[Elements, int]:
    """The same in implicit VR; a loop of its own, since a question in it would be asked of every element."""
    unpack, tags = _IMPLICIT.unpack_from, TAGS
    make, end = RawDataElement._make, len(data)
    found: Elements = {}
    while at < end:
        group, element, length = unpack(data, at)
        if group > last_group:
            break
        number = group << 16 | element
        tag = tags.get(number) or BaseTag(number)
        if length == _UNDEFINED:
            found[tag], at = _undefined(data, at, found, implicit=True)
            continue
        value_at = at + 8
        at = value_at + length
        if at > end:
            raise _Irregular
        value = data[value_at:at] if length else None
        found[tag] = make((tag, None, length, value, value_at, True, True, True, False))
    return found, at


def _undefined(data: bytes, at: int, before: Elements, *, implicit: bool) -> tuple[Any, int]:
    """An element of undefined length, a sequence or encapsulated pixel data, and where the next one starts."""
    file = BytesIO(data)
    file.seek(at)
    return next(data_element_generator(file, implicit, True, encoding=_charset(before))), file.tell()


def _charset(elements: Elements) -> Any:
    """The character sets of a data set, by pydicom's names; their element is decoded, as pydicom leaves it."""
    stated = elements.get(_CHARSET)
    if stated is None:
        return default_encoding
    if stated.is_raw:
        stated = elements[_CHARSET] = convert_raw_data_element(stated)
    return convert_encodings(stated.value)
