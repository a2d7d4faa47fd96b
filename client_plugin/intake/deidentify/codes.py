"""The vocabulary of PS3.15 Annex E: options, what is done to an element, and why an instance is not kept."""

from __future__ import annotations

import enum
from typing import NamedTuple


class Option(enum.Enum):
    """The profile and its options, with their codes in CID 7050 "De-identification Method" (PS3.16)."""

    BASIC = ("113100", "Basic Application Confidentiality Profile")
    CLEAN_PIXEL_DATA = ("113101", "Clean Pixel Data Option")
    CLEAN_VISUAL_FEATURES = ("113102", "Clean Recognizable Visual Features Option")
    CLEAN_GRAPHICS = ("113103", "Clean Graphics Option")
    CLEAN_STRUCTURED_CONTENT = ("113104", "Clean Structured Content Option")
    CLEAN_DESCRIPTORS = ("113105", "Clean Descriptors Option")
    RETAIN_MODIFIED_DATES = ("113107", "Retain Longitudinal Temporal Information Modified Dates Option")
    RETAIN_PATIENT_CHARACTERISTICS = ("113108", "Retain Patient Characteristics Option")
    RETAIN_DEVICE_IDENTITY = ("113109", "Retain Device Identity Option")
    RETAIN_UIDS = ("113110", "Retain UIDs Option")
    RETAIN_SAFE_PRIVATE = ("113111", "Retain Safe Private Option")

    @property
    def code(self) -> str:
        """Code Value, scheme DCM."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """Code Meaning."""
        return self.value[1]


class Done(enum.StrEnum):
    """What was done to an element. The letters are the action codes of PS3.15 Table E.1-1a."""

    REMOVED = "X"
    EMPTIED = "Z"
    REPLACED = "D"
    REMAPPED = "U"
    CLEANED = "C"
    ADDED = "A"


class Rule(enum.StrEnum):
    """The rule an action follows from."""

    TABLE = "PS3.15 Table E.1-1"
    IOD = "not an attribute of this IOD (PS3.3)"
    PRIVATE = "private attribute"
    SAFE_PRIVATE = "PS3.15 Table E.3.10-1"
    VR = "value contradicts its VR (PS3.5)"
    PERSON = "person name"
    IDENTIFIER = "contains one of the patient's identifiers"
    DESCRIPTOR = "words outside the safe vocabulary"
    UID = "UID that is not registered in PS3.6"
    DATE = "date moved by the patient's shift"
    BULK = "opaque bytes"
    BURNED_IN = "text in the picture looked for and blanked"
    PIXELS = "bytes outside the picture: padding, comments of the compressed stream"
    AGE = "age above 89 years aggregated"
    STRUCTURE = "group length, padding or command element"
    METHOD = "PS3.15 E.2: de-identification recorded"


class Reason(enum.StrEnum):
    """Why an instance cannot be kept."""

    UNKNOWN_SOP_CLASS = "unknown-sop-class"
    UNSUPPORTED_CONTENT = "unsupported-content"
    MISSING_UID = "missing-uid"
    BURNED_IN_TEXT = "burned-in-text"
    PIXELS_NOT_DECODABLE = "pixels-not-decodable"
    RECOGNIZABLE_FACE = "recognizable-face"
    POSSIBLE_FACE = "possible-face"
    """Nothing says which part of the body it shows, and it cannot be told from a head."""
    UNREADABLE = "unreadable"


class Quarantine(Exception):  # noqa: N818 - a decision about an instance, not a fault
    """The instance must not be archived.

    Attributes
    ----------
    reason : Reason
        A closed set, so that it may be a metric label and stand in the catalogue: never a value of the instance.
    pseudonym : str or None
        Of the patient, where it is known whose instance it is: the sealed raw copy is found by it.
    """

    def __init__(self, reason: Reason, pseudonym: str | None = None) -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.pseudonym = pseudonym


Path = tuple[tuple[int, int], ...]
"""(tag of the sequence, index of the item) from the top down; empty for a top-level element."""


class Action(NamedTuple):
    """What was done to one element, without its value."""

    path: Path
    tag: int
    done: Done
    rule: Rule
