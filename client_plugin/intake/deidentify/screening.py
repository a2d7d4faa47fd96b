"""Which instances may pass at all: the decisions that come before the elements."""

from __future__ import annotations

from pydicom import Dataset

from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.codes import Quarantine, Reason

#: Modalities whose pictures carry text as a rule: ultrasound, endoscopy, photographs, captured screens, scanned paper.
_TEXT_MODALITIES = frozenset({"US", "IVUS", "ES", "XC", "SC", "OT", "DOC", "HC", "GM", "OP", "ECG"})
_TEXT_IODS = (
    "secondary-capture",
    "ultrasound",
    "enhanced-us",
    "vl-endoscopic",
    "vl-photographic",
    "video-",
    "real-time-video",
    "dermoscopic",
)
#: ImageType values (PS3.3 C.7.6.1.1.2 and the vendors') of pictures that a console has drawn.
_DRAWN = frozenset(
    {"SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT", "DOSE", "DOSE_INFO", "PATIENT PROTOCOL", "PROTOCOL", "REPORT"}
)
#: IODs whose content is a document or an unknown format rather than attributes.
_CONTENT = ("encapsulated", "raw-data", "waveform", "audio", "hanging-protocol", "basic-directory", "inventory")
_STRUCTURED = ("-sr", "report", "procedure-log", "key-object", "surgical", "document")


def sop_class(ds: Dataset) -> tuple[str, str]:
    """SOP Class UID and IOD.

    Raises
    ------
    Quarantine
        No SOP class, or one that PS3.3 does not know: there is no allow-list for it.
    """
    uid = str(ds.get("SOPClassUID") or getattr(ds, "file_meta", Dataset()).get("MediaStorageSOPClassUID") or "")
    iod = standard.iod_of(uid)
    if iod is None:
        raise Quarantine(Reason.UNKNOWN_SOP_CLASS)
    return uid, iod


def check(ds: Dataset, iod: str) -> None:
    """Refuse what cannot be de-identified.

    Raises
    ------
    Quarantine
        Content that is no set of attributes, or pixels that may show text.
    """
    if any(part in iod for part in _CONTENT) or any(part in iod for part in _STRUCTURED):
        raise Quarantine(Reason.UNSUPPORTED_CONTENT)
    if may_show_text(ds, iod):
        raise Quarantine(Reason.BURNED_IN_TEXT)


def may_show_text(ds: Dataset, iod: str) -> bool:
    """Whether identifying text may be part of the picture.

    Burned In Annotation (0028,0301) is believed when it says YES, never when it says NO: it often is a constant.
    """
    if not any(tag in ds for tag in (0x7FE00010, 0x7FE00008, 0x7FE00009)):
        return False
    if str(ds.get("BurnedInAnnotation") or "").strip().upper() == "YES":
        return True
    if str(ds.get("Modality") or "").strip().upper() in _TEXT_MODALITIES or iod.startswith(_TEXT_IODS):
        return True
    image_type = ds.get("ImageType") or ()
    kinds = [image_type] if isinstance(image_type, str) else list(image_type)
    return any(str(kind).strip().upper() in _DRAWN for kind in kinds)
