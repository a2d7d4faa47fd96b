"""Which part of the body an instance says it shows: a head, something else, or nothing that is understood.

Devices and people write it in many places and languages, so everything that says something is read: Body Part Examined,
anatomic region codes, and descriptions. Close to the series counts before what holds for the whole study, where several
parts may be named.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from client_plugin.archive import reading
from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.identifiers import normal

_SERIES_TEXTS = ("BodyPartExamined", "SeriesDescription", "ProtocolName")
_STUDY_TEXTS = ("StudyDescription", "PerformedProcedureStepDescription", "RequestedProcedureDescription")
_REGIONS = ("AnatomicRegionSequence", "PrimaryAnatomicStructureSequence")
_FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_PROCEDURES = ("ProcedureCodeSequence", "PerformedProtocolCodeSequence")
#: Words as they are, and those of a compound that is written in one: ChestAbdomen.
_WORD = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"[A-Z]?[a-z]+")


class Region(enum.Enum):
    """What the labels say."""

    HEAD = "a head, or a neck, which is scanned up to the face"
    OTHER = "another part of the body"
    UNKNOWN = "nothing, or nothing that is understood"


@dataclass(frozen=True)
class _Words:
    words: frozenset[str]
    stems: tuple[str, ...]
    ideographs: tuple[str, ...]

    def are_in(self, text: str) -> bool:
        words = _WORD.findall(text)
        if any(word in self.words or word.startswith(self.stems) for word in words):
            return True
        return not text.isascii() and any(sign in text for sign in self.ideographs)


@dataclass(frozen=True)
class _Table:
    head: _Words
    other: _Words
    concepts: tuple[Code, ...]
    no_head: re.Pattern[str]


def region(ds: Dataset) -> Region:
    """The part of the body that ``ds`` says it shows.

    Raises
    ------
    ValueError, TypeError, LookupError
        A description cannot be decoded.
    """
    of_series = [*(reading.text(ds, keyword) for keyword in _SERIES_TEXTS), *_meanings(ds, _REGIONS)]
    for group in _FUNCTIONAL_GROUPS:
        for item in ds.get(group) or ():
            for anatomy in item.get("FrameAnatomySequence") or ():
                of_series += _meanings(anatomy, _REGIONS)
    found = of_texts(of_series)
    if found is not Region.UNKNOWN:
        return found
    return of_texts([*(reading.text(ds, keyword) for keyword in _STUDY_TEXTS), *_meanings(ds, _PROCEDURES)])


def of_texts(texts: Iterable[str]) -> Region:
    """What descriptions say: a head counts before anything else that is named.

    Examples
    --------
    >>> of_texts(["Schädel nativ"]), of_texts(["t2_tse_KNIE"]), of_texts(["femoral head"]), of_texts(["t2_tse"])
    (<Region.HEAD: ...>, <Region.OTHER: ...>, <Region.OTHER: ...>, <Region.UNKNOWN: ...>)
    """
    table = _table()
    other = False
    for text in texts:
        if not text:
            continue
        spoken = normal(text.replace("_", " "))
        without = table.no_head.sub(" ", spoken)
        apart = normal(" ".join(_CAMEL.findall(text)))
        if table.head.are_in(without) or table.head.are_in(table.no_head.sub(" ", apart)):
            return Region.HEAD
        other = other or table.other.are_in(spoken) or table.other.are_in(apart)
    return Region.OTHER if other else Region.UNKNOWN


def _meanings(ds: Dataset, keywords: Iterable[str]) -> Iterator[str]:
    """What the codes of sequences mean: their own words, those of SNOMED CT, and "head" where they are one."""
    for keyword in keywords:
        for item in ds.get(keyword) or ():
            value, scheme = reading.text(item, "CodeValue"), reading.text(item, "CodingSchemeDesignator")
            yield reading.text(item, "CodeMeaning")
            if value and scheme in ("SCT", "SRT", "SNM3", "99SDM"):
                code = Code(value, "SCT" if scheme == "SCT" else "SRT", "")
                yield "head" if code in _table().concepts else _snomed().get(value, "")


@cache
def _snomed() -> dict[str, str]:
    """SNOMED CT concepts that pydicom ships, and what they mean."""
    return {concept.value: concept.meaning for concept in (getattr(codes.SCT, name) for name in codes.SCT.dir())}


@cache
def _table() -> _Table:
    content = standard.regions()
    head, other = (
        _Words(frozenset(part["words"]), tuple(part["stems"]), tuple(part["ideographs"]))
        for part in (content["head"], content["other"])
    )
    phrases = "|".join(rf"(?:{phrase})" for phrase in content["phrases_that_mean_no_head"])
    concepts = tuple(Code(value, "SCT", "") for value in content["head"]["concepts"])
    return _Table(head, other, concepts, re.compile(rf"\b(?:{phrases})\b"))
