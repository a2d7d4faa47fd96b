"""Values in their encoded form (PS3.5): checks, dummies, and dates that move.

Everything here takes and gives bytes as they stand in the data set, so that an element that stays is never decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, timedelta

from pydicom.charset import python_encoding

NUMBER = re.compile(rb"[0-9+\-.eE \\]*\0?")
CODE = re.compile(rb"[A-Z0-9_ \\]*\0?")
_DATE = re.compile(rb"(\d{4})[.\-/]?(\d\d)[.\-/]?(\d\d)")
TIME = re.compile(rb"[0-2]\d(:?[0-5]\d(:?[0-6]\d(\.\d{1,6})?)?)?")
_DATETIME = re.compile(rb"(\d{4})(\d\d)?(\d\d)?(\d{2,6}(?:\.\d{1,6})?)?([+\-]\d{4})?")
AGE = re.compile(rb"(\d{3})([DWMY])")
#: Ages above this are one group (the Safe Harbor rule of 45 CFR 164.514(b)(2)(i)(C)).
OLDEST = 90

_DUMMIES = {
    "DA": b"19000101",
    "TM": b"000000",
    "DT": b"19000101000000",
    "AS": b"000Y",
    "DS": b"0",
    "IS": b"0",
    "UI": b"2.25.0",
    "UR": b"urn:removed",
    "AT": bytes(4),
    "US": bytes(2),
    "SS": bytes(2),
    "UL": bytes(4),
    "SL": bytes(4),
    "FL": bytes(4),
    "FD": bytes(8),
    "OB": bytes(2),
    "OW": bytes(2),
    "OF": bytes(4),
    "OL": bytes(4),
    "UN": bytes(2),
    "OD": bytes(8),
    "OV": bytes(8),
    "SV": bytes(8),
    "UV": bytes(8),
}

#: Bytes of one number of a binary VR (PS3.5 6.2).
SIZES = {
    **dict.fromkeys(("US", "SS"), 2),
    **dict.fromkeys(("UL", "SL", "FL", "AT", "OF", "OL"), 4),
    **dict.fromkeys(("FD", "UV", "SV", "OD", "OV"), 8),
}


def pad(value: bytes, vr: str) -> bytes:
    """Make the length even (PS3.5 6.2): UI and OB with zero bytes, text with a space."""
    if len(value) % 2 == 0:
        return value
    return value + (b"\0" if vr in ("UI", "OB", "UN") else b" ")


def dummy(vr: str) -> bytes:
    """A value that says nothing, valid for ``vr``; its number is 0, its text "REMOVED"."""
    return _DUMMIES.get(vr, b"REMOVED")


def is_number(value: bytes) -> bool:
    """Whether every value of a DS or IS could be a number."""
    return NUMBER.fullmatch(value) is not None


def is_code(value: bytes) -> bool:
    """Whether a CS holds code strings only."""
    return CODE.fullmatch(value) is not None


def is_charset(value: bytes) -> bool:
    """Whether a Specific Character Set (0008,0005) names character sets of PS3.3 C.12.1.1.2 only."""
    return all(part.decode("ascii", "replace") in python_encoding for part in _parts(value))


def is_time(value: bytes) -> bool:
    """Whether every value of a TM is a time of day, which a shift by whole days leaves as it is."""
    return all(TIME.fullmatch(part) is not None or not part for part in _parts(value))


def shift_date(value: bytes, days: int) -> bytes | None:
    """Move every DA of ``value`` by ``days``.

    Returns
    -------
    bytes or None
        None where a value is no date of the calendar.
    """
    return _each(value, lambda part: _shift_date(part, days))


def shift_datetime(value: bytes, days: int) -> bytes | None:
    """Move every DT of ``value`` by ``days``; the time of day and the offset from UTC stay.

    A DT without a day has nothing that could be moved exactly: None.
    """
    return _each(value, lambda part: _shift_datetime(part, days))


def limit_age(value: bytes) -> bytes | None:
    """Put ages above 89 years into one group, ``090Y``; None where a value is no age."""

    def limit(part: bytes) -> bytes | None:
        match = AGE.fullmatch(part)
        if match is None:
            return None
        return b"%03dY" % OLDEST if match[2] == b"Y" and int(match[1]) >= OLDEST else part

    return _each(value, limit)


def _parts(value: bytes) -> list[bytes]:
    return [part.strip(b" \0") for part in value.split(b"\\")]


def _each(value: bytes, change: Callable[[bytes], bytes | None]) -> bytes | None:
    changed = []
    for part in _parts(value):
        new = change(part) if part else part
        if new is None:
            return None
        changed.append(new)
    return b"\\".join(changed)


def _moved(year: bytes, month: bytes, day: bytes, days: int) -> bytes | None:
    try:
        moved = date(int(year), int(month), int(day)) + timedelta(days=days)
    except (ValueError, OverflowError):
        return None
    return b"%04d%02d%02d" % (moved.year, moved.month, moved.day)


def _shift_date(part: bytes, days: int) -> bytes | None:
    match = _DATE.fullmatch(part)
    return _moved(match[1], match[2], match[3], days) if match else None


def _shift_datetime(part: bytes, days: int) -> bytes | None:
    match = _DATETIME.fullmatch(part)
    if match is None or match[2] is None or match[3] is None:
        return None
    moved = _moved(match[1], match[2], match[3], days)
    return None if moved is None else moved + (match[4] or b"") + (match[5] or b"")
