"""Reading a few elements and leaving them as they are.

pydicom replaces an element by its decoded form when it is asked for its value. That costs more than to read most of
them as they are encoded, and de-identification would have to encode them again.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from pydicom import Dataset
from pydicom.datadict import DicomDictionary, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

TAGS = {tag: BaseTag(tag) for tag in DicomDictionary}
"""The attributes of PS3.6. pydicom compares two tags in Python, unless they are one object."""

_CHARSETS = 32


def text(ds: Dataset, keyword: str) -> str:
    """The value of a text attribute, several of them with backslashes between; empty where there is none.

    Raises
    ------
    ValueError, TypeError, LookupError
        It cannot be decoded.
    """
    return text_of(ds, _tag(keyword))


def text_of(ds: Dataset, tag: BaseTag) -> str:
    """The same of an element of a VR for text."""
    element = ds.get_item(tag)
    if element is None:
        return ""
    value = element.value
    if element.is_raw:
        if value is None or (value.isascii() and b"\x1b" not in value):
            return (value or b"").decode("ascii").strip(" \0")
        value = ds[tag].value
    if isinstance(value, bytes):  # of unknown VR
        value = value.decode("latin-1")
    if isinstance(value, MultiValue | list):
        return "\\".join(str(part) for part in value).strip()
    return "" if value is None else str(value).strip(" \0")


def texts(ds: Dataset, keyword: str) -> list[str]:
    """The values of a text attribute, in upper case; one empty text where there is none."""
    return [part.strip(" \0") for part in text(ds, keyword).upper().split("\\")]


def number(ds: Dataset, keyword: str) -> int | None:
    """The value of an attribute of VR US or IS; None where there is none.

    Raises
    ------
    ValueError, TypeError
        It is no number, or several.
    """
    element = ds.get_item(_tag(keyword))
    if element is None or element.value in (None, b"", ""):
        return None
    if element.is_raw:
        value = element.value
        if element.VR == "US" and len(value) == 2:
            return int.from_bytes(value, "little" if element.is_little_endian else "big")
        if element.VR == "IS" and (digits := value.strip(b" \0")).isdigit():
            return int(digits)
    return int(ds[_tag(keyword)].value)


def items(ds: Dataset, keyword: str) -> Iterable[Dataset]:
    """The items of a sequence; `Dataset.get` is slow where there is none."""
    tag = _tag(keyword)
    return ds[tag].value or () if tag in ds else ()


def charset(ds: Dataset) -> str | tuple[str, ...]:
    """The character sets that a data set was read with, by pydicom's names, as something small that can be hashed.

    Raises
    ------
    ValueError
        They are more than PS3.3 C.12.1.1.2 has.
    """
    names = ds.original_character_set
    if isinstance(names, str):
        return names
    if len(names) > _CHARSETS:
        raise ValueError(f"{len(names)} character sets")
    return tuple(names)


def named(ds: Dataset, keyword: str) -> str:
    """SOPClassUID or SOPInstanceUID: of the data set, or else of its file meta information."""
    return text(ds, keyword) or str(getattr(ds, "file_meta", Dataset()).get(f"MediaStorage{keyword}") or "")


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute of PS3.6")
    return TAGS[tag]
