"""Which instances may pass at all: the decisions that come before the elements."""

from __future__ import annotations

import enum
import re

from pydicom import Dataset

from client_plugin.archive import reading
from client_plugin.intake.deidentify import faces, standard
from client_plugin.intake.deidentify.codes import Option, Quarantine, Reason
from client_plugin.intake.deidentify.profile import Profile

#: Modalities whose pictures carry text as a rule: ultrasound, endoscopy, photographs, captured screens, scanned paper.
_TEXT_MODALITIES = frozenset({"US", "IVUS", "ES", "XC", "SC", "OT", "DOC", "HC", "GM", "OP"})
_TEXT_IODS = (
    "secondary-capture",
    "multi-frame-grayscale",
    "multi-frame-true-color",
    "multi-frame-single-bit",
    "ultrasound",
    "enhanced-us",
    "photoacoustic",
    "vl-endoscopic",
    "vl-photographic",
    "video-",
    "real-time-video",
    "dermoscopic",
)
_PROJECTIONS = frozenset({"CR", "DX", "MG", "RF", "XA", "RG", "IO", "PX", "NM"})
#: Masks, maps and doses: computed, whatever their Image Type says.
_DATA_IODS = ("segmentation", "parametric-map", "rt-dose", "surface", "height-map", "vl-whole-slide")
#: ImageType values (PS3.3 C.7.6.1.1.2 and the makers' own) of pictures that a console has drawn.
_DRAWN = re.compile(r"SAVE|SCREENSHOT|DOSE|PROTOCOL|REPORT|CAPTURE|CURVE|GRAPH|DEMOGRAPHIC|VXTL|INVALID")
_SLIDE_LABELS = frozenset({"LABEL", "OVERVIEW", "LOCALIZER"})
#: What CTP's and deid's recipes know of single makes: dose reports, injector protocols, analyses, localizers.
_RECIPE_TYPES = re.compile(r"LOCALI[SZ]ER|VOLREN|OTHER|PROJECTION")
_RECIPE_SERIES = re.compile(
    r"DOSE|REPORT|PROTOCOL|SCREEN|SAVE|CAPTURE|MEDRAD|AVA|AAA|3D|ENHANCEMENT|NOMINATION|LOCALI[SZ]ER|ELECTRONIC.F"
)
#: IODs whose content is a document or an unknown format rather than attributes.
_OPAQUE = ("encapsulated", "raw-data", "audio", "hanging-protocol", "basic-directory", "inventory")
_PIXELS = (0x7FE00010, 0x7FE00008, 0x7FE00009)


class TextRisk(enum.Enum):
    """Whether pictures of a kind carry text."""

    NONE = "acquired sections: nothing writes into them"
    POSSIBLE = "projections, localizers, derived pictures: markers, scanned films, workstation captures"
    LIKELY = "ultrasound, endoscopy, photographs, captured screens, or the instance says so"


def sop_class(ds: Dataset) -> tuple[str, str]:
    """SOP Class UID and IOD.

    Raises
    ------
    Quarantine
        No SOP class, or one that PS3.3 does not know: there is no allow-list for it.
    """
    uid = reading.named(ds, "SOPClassUID")
    iod = standard.iod_of(uid)
    if iod is None:
        raise Quarantine(Reason.UNKNOWN_SOP_CLASS)
    return uid, iod


def check(ds: Dataset, iod: str, profile: Profile) -> None:
    """Refuse what cannot be de-identified.

    Raises
    ------
    Quarantine
        Content that is no set of attributes, a structured document that the profile does not clean, a face.
    """
    if any(part in iod for part in _OPAQUE):
        raise Quarantine(Reason.UNSUPPORTED_CONTENT)
    if standard.CONTENT_SEQUENCE in ds and Option.CLEAN_STRUCTURED_CONTENT not in profile.options:
        raise Quarantine(Reason.UNSUPPORTED_CONTENT)
    if Option.CLEAN_VISUAL_FEATURES in profile.options and _has_pixels(ds):
        face = faces.refusal(ds, iod, profile.faceless_modalities)
        if face is not None:
            raise Quarantine(face)
    if shows_slide_label(ds) or (
        Option.CLEAN_PIXEL_DATA not in profile.options and text_risk(ds, iod) is TextRisk.LIKELY
    ):
        raise Quarantine(Reason.BURNED_IN_TEXT)


def text_risk(ds: Dataset, iod: str) -> TextRisk:
    """How likely identifying text is part of the picture.

    Burned In Annotation (0028,0301) is believed when it says YES, never when it says NO: it often is a constant.
    """
    if not _has_pixels(ds) or iod.startswith(_DATA_IODS):
        return TextRisk.NONE
    if _code(ds, "BurnedInAnnotation") == "YES":
        return TextRisk.LIKELY
    modality, kinds = _code(ds, "Modality"), reading.texts(ds, "ImageType")
    if modality in _TEXT_MODALITIES or iod.startswith(_TEXT_IODS) or any(_DRAWN.search(kind) for kind in kinds):
        return TextRisk.LIKELY
    if modality in _PROJECTIONS or kinds[:2] == ["DERIVED", "SECONDARY"] or _recipe_knows(ds, kinds):
        return TextRisk.POSSIBLE
    return TextRisk.NONE


def shows_slide_label(ds: Dataset) -> bool:
    """Whether a whole slide image shows the label of the slide (PS3.3 C.8.12.4.1.1): its bar code is no text."""
    if not _has_pixels(ds) or _code(ds, "Modality") != "SM":
        return False
    return _code(ds, "SpecimenLabelInImage") == "YES" or not _SLIDE_LABELS.isdisjoint(reading.texts(ds, "ImageType"))


def _recipe_knows(ds: Dataset, kinds: list[str]) -> bool:
    if not any(kinds) or any(_RECIPE_TYPES.search(kind) for kind in kinds):
        return True
    return _RECIPE_SERIES.search(reading.text(ds, "SeriesDescription").upper()) is not None


def _has_pixels(ds: Dataset) -> bool:
    return any(tag in ds for tag in _PIXELS)


def _code(ds: Dataset, keyword: str) -> str:
    return reading.texts(ds, keyword)[0]
