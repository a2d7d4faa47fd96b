"""The search for planted identifiers in the bytes that a de-identifier has written."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from datetime import date
from io import BytesIO

from pydicom import Dataset, dcmread
from pydicom.charset import python_encoding
from pydicom.uid import DeflatedExplicitVRLittleEndian

from benchmarks.planting.identifiers import Plant
from benchmarks.planting.instances import Planted

_SEARCHED = sorted({codec for codec in python_encoding.values() if codec} | {"utf-16-le", "utf-16-be", "utf-32-le"})
_UID = re.compile(rb"\d+(?:\.\d+){2,}")
_LONGEST_MOVE = 20_000


def survivors(planted: Planted, output: bytes) -> list[Plant]:
    """The plants that are still in ``output``, in any encoding, decoded or not, inflated if it is deflated."""
    ds = dcmread(BytesIO(output), force=True)
    haystack = output
    if ds.file_meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        start = output.index(b"DICM") + 4 + 12 + ds.file_meta.FileMetaInformationGroupLength
        haystack = output[:start] + zlib.decompress(output[start:], -zlib.MAX_WBITS)
    haystack = haystack.lower()
    without_uids = _UID.sub(b"", haystack)  # the digits of a new UID can be a date by chance
    text = "\0".join(_texts(ds)).casefold()
    moved = _moved_dates(planted, ds)
    found = []
    for plant in planted.plants:
        if plant.marker in moved:
            continue
        searched = without_uids if plant.marker.isdecimal() else haystack
        if plant.marker.casefold() in text or any(needle in searched for needle in _needles(plant.marker)):
            found.append(plant)
    return found


def _moved_dates(planted: Planted, output: Dataset) -> set[str]:
    """What the planted dates become if all of them move as the study's: one may fall on another."""
    before, after = (_day(str(ds.get("StudyDate"))) for ds in (dcmread(BytesIO(planted.data)), output))
    if before is None or after is None or before == after or abs((after - before).days) > _LONGEST_MOVE:
        return set()  # not moved but replaced
    days = (_day(plant.marker) for plant in planted.plants)
    return {f"{day + (after - before):%Y%m%d}" for day in days if day is not None}


def _day(text: str) -> date | None:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:])) if len(text) == 8 else None
    except ValueError:
        return None


def _needles(marker: str) -> set[bytes]:
    needles = set()
    for codec in _SEARCHED:
        try:
            needle = marker.encode(codec).lower()
        except (UnicodeEncodeError, LookupError):
            continue
        needles.add(needle)
        needles.add(needle.removesuffix(b"\x1b(b").removesuffix(b"\x1b(B"))
    return {needle for needle in needles if len(needle) > 3}


def _texts(ds: Dataset) -> Iterator[str]:
    for tag in list(ds.keys()):
        try:
            element = ds[tag]
        except (TypeError, ValueError, LookupError):  # a value that pydicom cannot decode: its bytes are searched
            continue
        if element.VR == "SQ":
            for item in element.value:
                yield from _texts(item)
        elif element.VR != "UI" and (isinstance(element.value, str | list) or hasattr(element.value, "components")):
            yield str(element.value)
