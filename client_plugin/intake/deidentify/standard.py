"""The tables of the standard: what PS3.15 says about an attribute, and which attributes an IOD has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources
from typing import Any, NamedTuple

from pydicom.datadict import dictionary_VR
from pydicom.sr.codedict import codes


class Confidentiality(NamedTuple):
    """A row of PS3.15 Table E.1-1."""

    basic: str
    """Action of the Basic Profile: D, Z, X, U, or a choice of them such as X/Z/D."""
    options: Mapping[str, str]
    """Short name of an option -> K (keep) or C (clean)."""


_TABLES = ("confidentiality", "safe_private", "iods", "concept_words", "protocol_words", "device_words", "regions")


def _load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((resources.files(__package__) / "data" / f"{name}.json").read_text("utf-8"))
    return loaded


@cache
def sources() -> dict[str, str]:
    """Where each table comes from: package, release, licence."""
    return {name: _load(name)["source"] for name in _TABLES}


@cache
def confidentiality() -> dict[int, Confidentiality]:
    """PS3.15 Table E.1-1 by tag; repeating groups are in ``fold``ed form."""
    table = {int(tag, 16): Confidentiality(*row) for tag, row in _load("confidentiality")["content"].items()}
    graphics = Confidentiality("X", {"graphics": "C"})
    # The table's rows (60xx,3000) and (60xx,4000). No IOD has curves (50xx,xxxx) any more: they go with the IOD rule.
    return table | {0x60003000: graphics, 0x60004000: graphics}


@cache
def safe_private() -> dict[tuple[int, str, int], str]:
    """PS3.15 Table E.3.10-1: (group, private creator, element within the block) -> VR."""
    rows = _load("safe_private")["content"]
    return {(int(group, 16), creator, int(element, 16)): vr for group, creator, element, vr in rows}


@cache
def regions() -> Any:
    """How parts of the body are written: "head", "other", and phrases in which a head is none."""
    return _load("regions")["content"]


@cache
def words(*tables: str) -> frozenset[str]:
    """The words of some of the tables "concept_words", "protocol_words" and "device_words"."""
    return frozenset(word for table in tables for word in _load(table)["content"])


@cache
def code_meanings() -> frozenset[str]:
    """The meanings of the coded concepts that pydicom ships, in lower case."""
    meanings: set[str] = set()
    for scheme in codes.schemes():
        collection = getattr(codes, scheme)
        meanings.update(getattr(collection, keyword).meaning.lower() for keyword in collection.dir())
    return frozenset(meanings)


@cache
def _iods() -> Any:
    return _load("iods")["content"]


def iod_of(sop_class_uid: str) -> str | None:
    """The IOD of a storage SOP class, or None for one that PS3.3's tables do not know."""
    iod = _iods()["sop_classes"].get(sop_class_uid)
    return iod if iod is not None and _iods()["iods"].get(iod) else None


def sop_classes() -> dict[str, str]:
    """SOP class UID -> IOD."""
    return dict(_iods()["sop_classes"])


TOP = 0
"""Stands for the parent of a top-level attribute."""

CONTENT_SEQUENCE = 0x0040A730
_PIXEL_DATA, _NUMBER_OF_FRAMES = 0x7FE00010, 0x00280008
#: What a content item's Value Type requires it to have (PS3.3 C.17.3.2): DateTime, Date, Time, Person Name, UID, Text.
_CONTENT_VALUES = frozenset({0x0040A120, 0x0040A121, 0x0040A122, 0x0040A123, 0x0040A124, 0x0040A160})


@cache
def attributes(iod: str) -> dict[int, dict[int, str]]:
    """The attributes of an IOD: parent sequence (or ``TOP``) -> tag -> Type ("1", "1C", "2", "2C" or "3").

    An attribute that two modules have gets the stricter Type.
    """
    found: dict[int, dict[int, str]] = {}
    for module in _iods()["iods"][iod]:
        for parent, kinds in _iods()["modules"][module].items():
            children = found.setdefault(int(parent, 16) if parent else TOP, {})
            for kind, tags in kinds.items():
                for text in tags.split():
                    tag = int(text, 16)
                    children[tag] = min(kind, children.get(tag, kind))
    if _PIXEL_DATA in found.get(TOP, {}):
        found[TOP].setdefault(_NUMBER_OF_FRAMES, "3")  # some devices put several into a class that has one
    if CONTENT_SEQUENCE in found:
        # A content item has the root's attributes and contains content items (PS3.3 C.17.3): a table cannot say so.
        for tag, kind in found[TOP].items():
            if tag in _content_item():
                found[CONTENT_SEQUENCE].setdefault(tag, kind)
        for values in (found[TOP], found[CONTENT_SEQUENCE]):
            values.update(dict.fromkeys(_CONTENT_VALUES & values.keys(), "1"))
    return found


@cache
def _content_item() -> frozenset[int]:
    """The attributes of the SR Document Content Module at the root of the tree."""
    tags = " ".join(_iods()["modules"]["sr-document-content"][""].values())
    return frozenset(int(tag, 16) for tag in tags.split())


def fold(tag: int) -> int:
    """The first group of a repeating group: (6002,3000) -> (6000,3000). (6001,3000) is private."""
    return tag & 0xFF00FFFF if 0x6000 <= tag >> 16 <= 0x60FF and not tag & 0x10000 else tag


@lru_cache(maxsize=16384)  # hostile instances may have any number of tags
def vrs(tag: int) -> tuple[str, ...]:
    """The VRs that PS3.6 allows for ``tag``; empty for an attribute it does not know."""
    try:
        return tuple(dictionary_VR(tag).split(" or "))
    except KeyError:
        return ()


@cache
def fingerprint() -> str:
    """SHA-256 over the shipped tables."""
    digest = hashlib.sha256()
    for name in _TABLES:
        digest.update((resources.files(__package__) / "data" / f"{name}.json").read_bytes())
    return digest.hexdigest()
