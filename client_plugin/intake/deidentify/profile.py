"""A site's profile: which options apply, and what that means for every attribute of an IOD.

All decisions are made here, from the tables alone and before an instance is seen; :mod:`engine` only carries
them out.
"""

from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.codes import Option, Rule
from client_plugin.intake.deidentify.identifiers import normal

#: Raised by hand when the engine changes what it does to an instance: part of what the catalogue keeps per object.
VERSION = "5"


#: Key in the site's configuration -> the option it switches.
SWITCHES = {
    "clean_pixel_data": Option.CLEAN_PIXEL_DATA,
    "clean_visual_features": Option.CLEAN_VISUAL_FEATURES,
    "clean_graphics": Option.CLEAN_GRAPHICS,
    "clean_structured_content": Option.CLEAN_STRUCTURED_CONTENT,
    "clean_descriptors": Option.CLEAN_DESCRIPTORS,
    "retain_modified_dates": Option.RETAIN_MODIFIED_DATES,
    "retain_patient_characteristics": Option.RETAIN_PATIENT_CHARACTERISTICS,
    "retain_device_identity": Option.RETAIN_DEVICE_IDENTITY,
    "retain_uids": Option.RETAIN_UIDS,
    "retain_safe_private": Option.RETAIN_SAFE_PRIVATE,
}


class Op(enum.IntEnum):
    """What the engine does with an element, by the kind of its value. An IntEnum for its quick hash alone."""

    REMOVE = enum.auto()
    EMPTY = enum.auto()
    DUMMY = enum.auto()
    KEEP = enum.auto()
    """Numbers in binary, kept if they have the size of their VR; many of them, unless a known name is in the bytes."""
    NUMBER = enum.auto()
    """DS, IS: kept if they are numbers."""
    CODE = enum.auto()
    """CS: kept if it is a code string."""
    CODE_VALUE = enum.auto()
    """Code Value, Coding Scheme Designator: kept if they look like codes."""
    LABEL = enum.auto()
    """Technical text: the words of devices are kept as well."""
    TEXT = enum.auto()
    """Free text: words of the safe vocabulary are kept."""
    BULK = enum.auto()
    """Samples and lookup tables: kept unless a known name is in the bytes."""
    UID = enum.auto()
    DATE = enum.auto()
    TIME = enum.auto()
    DATETIME = enum.auto()
    AGE = enum.auto()
    SEQUENCE = enum.auto()
    """Every item is passed through in turn."""
    PATIENT = enum.auto()
    """Replaced by the pseudonym."""
    PIXELS = enum.auto()
    """Pixel data: what is no pixel goes."""
    CHARSET = enum.auto()


#: Kept or not by what they say: looked at when all the names of the instance are known.
TEXT_OPS = frozenset({Op.BULK, Op.NUMBER, Op.CODE, Op.CODE_VALUE, Op.LABEL, Op.TEXT})


class Step(NamedTuple):
    """The decision for one attribute in one place of one IOD."""

    op: Op
    rule: Rule
    vrs: tuple[str, ...]
    type: str


_TEXT_VRS = frozenset({"SH", "LO", "ST", "LT", "UT", "UC"})
_BINARY_VRS = frozenset({"US", "SS", "UL", "SL", "UV", "SV", "FL", "FD", "AT", "OF", "OD", "OL", "OV"})
_BY_VR = {
    "UI": Op.UID,
    "DA": Op.DATE,
    "TM": Op.TIME,
    "DT": Op.DATETIME,
    "AS": Op.AGE,
    "CS": Op.CODE,
    "DS": Op.NUMBER,
    "IS": Op.NUMBER,
    "SQ": Op.SEQUENCE,
}

_PATIENT_ATTRIBUTES = frozenset({0x00100010, 0x00100020})
_CHARSET = 0x00080005
_GRAPHIC_ANNOTATIONS = 0x00700001
_CONTENT_LABEL = 0x00700080
"""A CS, but what somebody types in as a title: the code of an institution as well as of a finding."""
_PIXELS = frozenset({0x7FE00010, 0x7FE00008, 0x7FE00009})
#: Opaque bytes that a picture or a curve cannot do without: lookup tables, waveform samples, their padding.
_SAFE_BULK = frozenset(
    {0x00281201, 0x00281202, 0x00281203, 0x00281204, 0x00281221, 0x00281222, 0x00281223, 0x00281224, 0x00283006}
    | {0x00281408, 0x54000110, 0x54000112, 0x5400100A, 0x54001010, 0x00660129, 0x00660023, 0x00660040}
)
_CODE_VALUES = frozenset({0x00080100, 0x00080102, 0x00080103, 0x00080119})
"""Code Value, Coding Scheme Designator and Version, Long Code Value."""
#: Text that a device writes, not a person: makes, models, kernels, sequences, codes, labels of the acquisition.
_TECHNICAL = frozenset(
    {
        0x00080070,  # Manufacturer
        0x00081090,  # Manufacturer's Model Name
        0x00180024,  # Sequence Name
        0x00180085,  # Imaged Nucleus
        0x00181020,  # Software Versions
        0x00181160,  # Filter Type
        0x00181210,  # Convolution Kernel
        0x00181250,  # Receive Coil Name
        0x00181251,  # Transmit Coil Name
        0x00189005,  # Pulse Sequence Name
        0x00189320,  # Image Filter
        0x00201040,  # Position Reference Indicator
        0x00209056,  # Stack ID
        0x00281054,  # Rescale Type
        0x00283004,  # Modality LUT Type
        0x00541100,  # Randoms Correction Method
        0x00541101,  # Attenuation Correction Method
        0x00541103,  # Reconstruction Method
        0x00541105,  # Scatter Correction Method
        0x00620009,  # Segment Algorithm Name
        0x00660036,  # Algorithm Name
        0x00660031,  # Algorithm Version
    }
)


@dataclass(frozen=True)
class Profile:
    """The Basic Profile with a site's options.

    Attributes
    ----------
    options : frozenset of Option
        What is switched on, the Basic Profile included.
    safe_words : frozenset of str
        Words that the site keeps in descriptions besides those of the shipped tables.
    faceless_modalities : frozenset of str
        Modalities of which the site says that they show no face where nothing says what they show.
    """

    options: frozenset[Option]
    safe_words: frozenset[str] = frozenset()
    faceless_modalities: frozenset[str] = frozenset()

    @classmethod
    def from_config(cls, config: DeidentificationConfig) -> Profile:
        """The profile that a hospital's configuration asks for."""
        options = {option for key, option in SWITCHES.items() if getattr(config, key)}
        words, faceless = frozenset(map(normal, config.safe_words)), frozenset(config.faceless_modalities)
        return cls(frozenset({Option.BASIC} | options), words, faceless)

    @property
    def digest(self) -> str:
        """Hash of everything the outcome depends on but the key: tables, options, version. 16 hex characters.

        The catalogue keeps it with each object, so that a changed profile can find what it would do otherwise.
        """
        site = [sorted(self.safe_words), sorted(self.faceless_modalities)]
        stated = [VERSION, sorted(o.code for o in self.options), *site, standard.fingerprint()]
        return hashlib.sha256(json.dumps(stated).encode()).hexdigest()[:16]

    @property
    def retains_private(self) -> bool:
        """Whether safe private attributes are kept."""
        return Option.RETAIN_SAFE_PRIVATE in self.options

    def private_step(self, vr: str) -> Step:
        """What to do with a safe private attribute."""
        op = Op.LABEL if vr in _TEXT_VRS else Op.KEEP if vr in _BINARY_VRS else _BY_VR.get(vr, Op.REMOVE)
        return Step(op, Rule.SAFE_PRIVATE, (vr,), "3")

    def steps(self, iod: str, parent: int) -> dict[int, Step]:
        """What to do with each attribute that ``iod`` allows below ``parent``; all others are removed."""
        return _steps(self, iod, parent)

    def decide(self, tag: int, type_: str) -> Step:
        """What to do with an attribute of an IOD.

        Parameters
        ----------
        tag : int
            A tag of PS3.6; one of a repeating group in ``standard.fold``ed form.
        type_ : str
            Its Type in the IOD, which settles the table's choices: "X/Z/D" removes a Type 3 attribute, empties a
            Type 2 one and gives a Type 1 one a dummy value.
        """
        vrs = standard.vrs(tag)
        if tag in _PATIENT_ATTRIBUTES:
            return Step(Op.PATIENT, Rule.TABLE, vrs, type_)
        if tag == _CHARSET:
            return Step(Op.CHARSET, Rule.TABLE, vrs, type_)
        row = standard.confidentiality().get(tag)
        if row is None:
            return self._by_vr(tag, vrs, type_, Rule.IOD)
        if tag == _GRAPHIC_ANNOTATIONS:
            op = Op.SEQUENCE if Option.CLEAN_GRAPHICS in self.options else Op.REMOVE
            return Step(op, Rule.TABLE, vrs, type_)
        if self._enabled(row, "dates", Option.RETAIN_MODIFIED_DATES):
            return self._by_vr(tag, vrs, type_, Rule.TABLE)
        for name, option in (
            ("uids", Option.RETAIN_UIDS),
            ("device", Option.RETAIN_DEVICE_IDENTITY),
            ("patient", Option.RETAIN_PATIENT_CHARACTERISTICS),
            ("descriptors", Option.CLEAN_DESCRIPTORS),
            ("structured", Option.CLEAN_STRUCTURED_CONTENT),
        ):
            if self._enabled(row, name, option):
                kept = self._by_vr(tag, vrs, type_, Rule.TABLE)
                if kept.op is Op.TEXT and row.options[name] == "K":
                    return kept._replace(op=Op.LABEL)
                return kept
        if row.basic == "U":
            return Step(Op.UID, Rule.TABLE, vrs, type_)
        if row.basic == "X/Z/U*":
            return Step(Op.SEQUENCE, Rule.TABLE, vrs, type_)
        return Step(_basic(row.basic, type_), Rule.TABLE, vrs, type_)

    def _enabled(self, row: standard.Confidentiality, name: str, option: Option) -> bool:
        return name in row.options and option in self.options

    def _by_vr(self, tag: int, vrs: tuple[str, ...], type_: str, rule: Rule) -> Step:
        """An attribute that stays: how its value is checked or changed depends on its VR."""
        if tag in _PIXELS:
            return Step(Op.PIXELS, rule, vrs, type_)
        if not vrs:
            return Step(Op.REMOVE, Rule.IOD, vrs, type_)
        vr = vrs[0]
        if vr in ("DA", "TM", "DT") and Option.RETAIN_MODIFIED_DATES not in self.options:
            return Step(required(type_), Rule.DATE, vrs, type_)
        if vr == "UI" and Option.RETAIN_UIDS in self.options:
            return Step(Op.KEEP, rule, vrs, type_)
        if tag == _CONTENT_LABEL:
            return Step(Op.TEXT, rule, vrs, type_)
        if vr in _TEXT_VRS:
            op = Op.CODE_VALUE if tag in _CODE_VALUES else Op.LABEL if tag in _TECHNICAL else Op.TEXT
            return Step(op, rule, vrs, type_)
        if tag in _SAFE_BULK or "OW" in vrs[1:]:
            return Step(Op.BULK, rule, vrs, type_)
        if vr in _BINARY_VRS:
            return Step(Op.KEEP, rule, vrs, type_)
        if vr in ("OB", "OW", "UN"):
            return Step(required(type_), Rule.BULK, vrs, type_)
        if vr == "PN":
            return Step(required(type_), Rule.PERSON, vrs, type_)
        return Step(_BY_VR.get(vr, required(type_)), rule, vrs, type_)  # AE and UR name systems: not kept


@lru_cache(maxsize=4096)
def _steps(profile: Profile, iod: str, parent: int) -> dict[int, Step]:
    return {
        tag: profile.decide(tag, type_)
        for tag, type_ in standard.attributes(iod).get(parent, {}).items()
        if tag >> 16 not in (0x0000, 0x0002, 0x0004) and tag & 0xFFFF
    }


def required(type_: str) -> Op:
    """How to do without a value: by removing the attribute, if its Type lets it be absent."""
    return {"1": Op.DUMMY, "2": Op.EMPTY}.get(type_, Op.REMOVE)


def _basic(action: str, type_: str) -> Op:
    """Settle an action of Table E.1-1a by the attribute's Type (PS3.15 E.1.1)."""
    if type_ == "1" or action == "X":  # what the IOD requires unconditionally stays, without its value
        return required(type_)
    choices = action.split("/")
    wanted = {"1": "D", "2": "Z"}.get(type_[0], "X")
    if wanted not in choices:
        wanted = choices[-1] if type_ == "2" else choices[0]
    return {"D": Op.DUMMY, "Z": Op.EMPTY, "X": Op.REMOVE}[wanted]
