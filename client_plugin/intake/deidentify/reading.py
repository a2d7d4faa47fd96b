"""Reading a few elements before the pass over all of them, and leaving them as they are.

pydicom replaces an element by its decoded form when it is asked for its value; the pass would have to encode it again.
"""

from __future__ import annotations

from functools import cache

from pydicom import Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag


def text(ds: Dataset, keyword: str) -> str:
    """The value of a text attribute, several of them with backslashes between; empty where there is none.

    Raises
    ------
    ValueError, TypeError, LookupError
        It cannot be decoded.
    """
    element = ds.get_item(_tag(keyword))
    if element is None:
        return ""
    value = element.value
    if element.is_raw:
        if value is None or (value.isascii() and b"\x1b" not in value):
            return (value or b"").decode("ascii").strip(" \0")
        value = ds[_tag(keyword)].value
    if isinstance(value, bytes):  # of unknown VR
        value = value.decode("latin-1")
    if isinstance(value, MultiValue | list):
        return "\\".join(str(part) for part in value).strip()
    return "" if value is None else str(value).strip(" \0")


def texts(ds: Dataset, keyword: str) -> list[str]:
    """The values of a text attribute, in upper case; one empty text where there is none."""
    return [part.strip(" \0") for part in text(ds, keyword).upper().split("\\")]


@cache
def _tag(keyword: str) -> BaseTag:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ValueError(f"{keyword} is no attribute of PS3.6")
    return BaseTag(tag)
