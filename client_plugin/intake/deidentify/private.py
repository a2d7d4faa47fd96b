"""Retain Safe Private: the private attributes of PS3.15 Table E.3.10-1."""

from __future__ import annotations

from pydicom import Dataset

from client_plugin.intake.deidentify import standard


def safe(source: Dataset, tag: int) -> str | None:
    """The VR of a private attribute that the standard lists as safe, or None.

    A private attribute is known by its group, the creator who reserved its block, and its element within the block
    (PS3.5 7.8.1): the same element number means something else in another file.
    """
    group, element = tag >> 16, tag & 0xFFFF
    creator_element = element >> 8
    if creator_element < 0x10 or (group << 16 | creator_element) not in source:
        return None
    creator = source[group << 16 | creator_element].value
    return standard.safe_private().get((group, str(creator or "").strip(), element & 0xFF))


def creator_of(tag: int) -> int:
    """The element that reserves the block of ``tag``."""
    return tag & 0xFFFF0000 | (tag & 0xFFFF) >> 8
