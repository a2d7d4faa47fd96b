"""What the elements that go tell about people and orders, so that it is found where it stands elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from client_plugin.archive import reading
from client_plugin.intake.deidentify import descriptors, standard
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.patient import DATES, NAMES, NUMBERS

_NAMING = NAMES | NUMBERS | DATES
_FEW, _SHORT = 200, 4096  # lessons of an instance and their characters, at most, that are remembered
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError)


class Lesson(NamedTuple):
    """An attribute that tells something: its text, or the encoded value that is to be looked into.

    The other fields are about an encoded value: its VR (None: implicit), encoding and character sets.
    """

    tag: int
    vr: str | None
    value: str | bytes | None
    implicit: bool = True
    little: bool = True
    charset: str | tuple[str, ...] = ""


def tells(tag: int) -> bool:
    """Whether an attribute, or what may be below it, tells names or identifiers. Private ones are not read."""
    return tag in _NAMING or (not tag & 0x10000 and standard.vrs(tag) in (("PN",), ("SQ",)))


def lessons(source: Dataset, element: Any) -> Iterator[Lesson]:
    """What an element of ``source`` tells; one that was not decoded yet is left so."""
    if element.is_raw:
        encoding = element.is_implicit_VR, element.is_little_endian, reading.charset(source)
        yield Lesson(int(element.tag), element.VR, element.value, *encoding)
    else:
        yield from _told(source, element.tag)


def identifiers(told: frozenset[Lesson]) -> Identifiers:
    """The words and numbers in what was told: not to be changed, for all instances that tell the same have one."""
    if len(told) > _FEW or sum(len(lesson.value or "") for lesson in told) > _SHORT:
        return _identifiers(told, shared=False)
    return _remembered(told, shared=True)


def _identifiers(told: Iterable[Lesson], *, shared: bool) -> Identifiers:
    known = Identifiers(shared=shared)
    for lesson in told:
        for tag, text in _texts(lesson):
            for part in text.split("\\"):
                if tag in DATES:
                    known.add_date(part)
                elif tag in NUMBERS:
                    known.add_number(part)
                else:
                    besides = descriptors.vocabulary(technical=True) if tag in NAMES else frozenset()
                    known.add_name(part, besides)
    return known


_remembered = lru_cache(maxsize=128)(_identifiers)


def _texts(lesson: Lesson) -> Iterator[tuple[int, str]]:
    if isinstance(lesson.value, str):
        yield lesson.tag, lesson.value
        return
    tag, (_, vr, value, implicit, little, charset) = BaseTag(lesson.tag), lesson
    source = Dataset({tag: RawDataElement(tag, vr, len(value or b""), value, 0, implicit, little)})
    source.set_original_encoding(implicit, little, charset if isinstance(charset, str) else list(charset))
    for below in _told(source, tag):
        yield below.tag, str(below.value)


def _told(source: Dataset, tag: BaseTag) -> Iterator[Lesson]:
    """What an element tells, and what is below it; nothing where it cannot be decoded."""
    try:
        if standard.vrs(int(tag)) == ("SQ",) and source[tag].VR == "SQ":
            items, text = source[tag].value or (), ""
        else:
            items, text = (), reading.text_of(source, tag)
    except _UNREADABLE:  # goes unread
        return
    if text:
        yield Lesson(int(tag), None, text)
    for item in items:
        for below in list(item.keys()):
            if tells(int(below)):
                yield from _told(item, below)
