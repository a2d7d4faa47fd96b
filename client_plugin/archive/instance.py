"""What the catalogue keeps of a de-identified instance."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage, SegmentationStorage

from client_plugin.archive import reading
from client_plugin.archive.geometry import location_along_normal

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")  # it names a folder
_MAX_TEXT = 256


class NotArchivable(ValueError):  # noqa: N818 - it is the data set that is described
    """The data set lacks what the archive files it under; the message names the attribute, never its value."""


@dataclass(frozen=True)
class SegmentLabel:
    """SegmentNumber and SegmentLabel of a SEG, or ROINumber and ROIName of an RTSTRUCT."""

    number: int
    name: str


@dataclass(frozen=True, kw_only=True)
class ArchivedInstance:
    """The indexed attributes of one de-identified SOP instance.

    Parameters
    ----------
    position
        ImagePositionPatient in mm; of the first frame for an enhanced multi-frame object.
    orientation
        ImageOrientationPatient: six direction cosines.
    pixel_spacing
        PixelSpacing in mm: between rows, between columns.
    location
        Distance along the normal in mm; see `geometry.location_along_normal`.
    referenced_series
        Series that a SEG or RTSTRUCT was drawn on.
    rules
        Digest of the rules it was de-identified by, from DeidentificationMethod.
    """

    pseudonym: str
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    body_part: str = ""
    study_description: str = ""
    series_description: str = ""
    frame_of_reference_uid: str = ""
    number: int | None = None
    rows: int = 0
    columns: int = 0
    frames: int = 1
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, ...] | None = None
    pixel_spacing: tuple[float, ...] | None = None
    slice_thickness: float | None = None
    location: float | None = None
    referenced_series: tuple[str, ...] = ()
    labels: tuple[SegmentLabel, ...] = ()
    rules: str = ""

    def __post_init__(self) -> None:
        for name in ("study_uid", "series_uid", "sop_instance_uid", "sop_class_uid", "transfer_syntax_uid"):
            uid = getattr(self, name)
            if len(uid) > 64 or not _UID.fullmatch(uid):
                raise NotArchivable(f"{name} is not a UID")
        if not _PSEUDONYM.fullmatch(self.pseudonym):
            raise NotArchivable("a pseudonym has 1 to 64 letters, digits, - and _")

    @classmethod
    def from_dataset(cls, ds: Dataset, pseudonym: str) -> ArchivedInstance:
        """Index a de-identified data set (with its file meta information).

        Raises
        ------
        NotArchivable
            A UID is missing or malformed. Attributes that only describe are left out when they are malformed.
        """
        position, orientation = _numbers(ds, "ImagePositionPatient", 3), _numbers(ds, "ImageOrientationPatient", 6)
        meta = getattr(ds, "file_meta", Dataset())
        return cls(
            pseudonym=pseudonym,
            study_uid=_text(ds, "StudyInstanceUID"),
            series_uid=_text(ds, "SeriesInstanceUID"),
            sop_instance_uid=_text(ds, "SOPInstanceUID"),
            sop_class_uid=_text(ds, "SOPClassUID"),
            transfer_syntax_uid=_text(meta, "TransferSyntaxUID"),
            modality=_text(ds, "Modality")[:16],
            body_part=_text(ds, "BodyPartExamined")[:64].upper(),
            study_description=_text(ds, "StudyDescription"),
            series_description=_text(ds, "SeriesDescription"),
            frame_of_reference_uid=_text(ds, "FrameOfReferenceUID")[:64],
            number=_integer(ds, "InstanceNumber"),
            rows=_integer(ds, "Rows") or 0,
            columns=_integer(ds, "Columns") or 0,
            frames=_integer(ds, "NumberOfFrames") or 1,
            position=(position[0], position[1], position[2]) if position else None,
            orientation=orientation,
            pixel_spacing=_numbers(ds, "PixelSpacing", 2),
            slice_thickness=(_numbers(ds, "SliceThickness", 1) or (None,))[0],
            location=_location(position, orientation),
            referenced_series=tuple(dict.fromkeys(_referenced_series(ds))),
            labels=tuple({label.number: label for label in _labels(ds)}.values()),
            rules=_rules(ds),
        )


@dataclass(frozen=True, kw_only=True)
class InstanceRow(ArchivedInstance):
    """An archived instance as the catalogue knows it.

    Parameters
    ----------
    version
        The study version it arrived in.
    size
        Bytes of the de-identified DICOM file.
    sha256
        Of the same, in hex.
    """

    version: int
    size: int
    sha256: str
    archived_at: datetime


def _text(ds: Dataset, keyword: str) -> str:
    return reading.text(ds, keyword).strip()[:_MAX_TEXT]


def _integer(ds: Dataset, keyword: str) -> int | None:
    try:
        value = reading.number(ds, keyword)
    except (TypeError, ValueError):
        return None
    return value if value is not None and 0 <= value < 1 << 31 else None


def _numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """A decimal attribute of the data set or, for enhanced multi-frame objects, of its functional groups."""
    try:
        numbers = tuple(float(part) for part in _decimals(ds, keyword).split("\\"))
    except (TypeError, ValueError, LookupError):
        return None
    return numbers if len(numbers) == count else None


def _decimals(ds: Dataset, keyword: str) -> str:
    text = reading.text(ds, keyword)
    if not text:
        groups = [
            *reading.items(ds, "SharedFunctionalGroupsSequence"),
            *list(reading.items(ds, "PerFrameFunctionalGroupsSequence"))[:1],
        ]
        for group in groups:
            for macro in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"):
                for item in reading.items(group, macro):
                    text = reading.text(item, keyword) or text
    return text


def _location(position: tuple[float, ...] | None, orientation: tuple[float, ...] | None) -> float | None:
    if position is None or orientation is None:
        return None
    try:
        return location_along_normal(position, orientation)
    except ValueError:
        return None


def _referenced_series(ds: Dataset) -> Iterable[str]:
    if _text(ds, "SOPClassUID") == SegmentationStorage:
        for item in reading.items(ds, "ReferencedSeriesSequence"):
            yield _text(item, "SeriesInstanceUID")
    elif _text(ds, "SOPClassUID") == RTStructureSetStorage:
        for frame in reading.items(ds, "ReferencedFrameOfReferenceSequence"):
            for study in reading.items(frame, "RTReferencedStudySequence"):
                for series in reading.items(study, "RTReferencedSeriesSequence"):
                    yield _text(series, "SeriesInstanceUID")


def _labels(ds: Dataset) -> Iterable[SegmentLabel]:
    if _text(ds, "SOPClassUID") == SegmentationStorage:
        sequence, number, name = "SegmentSequence", "SegmentNumber", "SegmentLabel"
    elif _text(ds, "SOPClassUID") == RTStructureSetStorage:
        sequence, number, name = "StructureSetROISequence", "ROINumber", "ROIName"
    else:
        return
    for item in reading.items(ds, sequence):
        value = _integer(item, number)
        if value is not None:
            yield SegmentLabel(value, _text(item, name)[:64])


def _rules(ds: Dataset) -> str:
    """The digest in a value "rules 0123456789abcdef" of DeidentificationMethod; empty where there is none."""
    for method in reading.text(ds, "DeidentificationMethod").split("\\"):
        name, _, digest = method.strip().partition(" ")
        if name == "rules" and len(digest) <= 16:
            return digest
    return ""
