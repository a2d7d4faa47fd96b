"""Each hospital's study as DICOM: a CT series and one binary Segmentation with the organs that are visible.

Voxel values and geometry are those of the source: sites A and B are wrapped from NIfTI (RAS to LPS by reordering,
never by resampling), C keeps its own compressed pixels and its scanner's attributes. What is invented is who the
patient is (`demo.people`), when and where, and the UIDs, which are the same on every run, as a PACS would send them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import (
    CTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

from demo.data import DataFolder
from demo.people import IDENTITIES, Identity

SITES = ("a", "b", "c")

_INTERCEPT = -2048  # stored value = HU + 2048: unsigned, and reaches down to the padding of site A
_ORIGIN = "2.25."  # UUID-derived UIDs (PS3.5 B.2): nobody's registered root


@dataclass(frozen=True)
class Organ:
    """One segment: its label, its SNOMED CT code, and the numbers it has in the source's label map."""

    label: str
    code: Code
    numbers: tuple[int, ...]
    side: Code | None = None


_LEFT, _RIGHT = codes.SCT.Left, codes.SCT.Right

# Numbers of TotalSegmentator's class map "total" (version 2), which all three sources use.
ORGANS = (
    Organ("liver", codes.SCT.Liver, (5,)),
    Organ("spleen", codes.SCT.Spleen, (1,)),
    Organ("stomach", codes.SCT.Stomach, (6,)),
    Organ("kidney_right", codes.SCT.Kidney, (2,), _RIGHT),
    Organ("kidney_left", codes.SCT.Kidney, (3,), _LEFT),
    Organ("colon", codes.SCT.Colon, (20,)),
    Organ("aorta", codes.SCT.Aorta, (52,)),
    Organ("lung_left", codes.SCT.Lung, (10, 11), _LEFT),
    Organ("lung_right", codes.SCT.Lung, (12, 13, 14), _RIGHT),
    Organ("heart", codes.SCT.Heart, (51,)),
    Organ("spine", codes.SCT.Spine, tuple(range(26, 51))),
    Organ("autochthon_left", codes.SCT.ErectorSpinaeMuscle, (86,), _LEFT),
    Organ("autochthon_right", codes.SCT.ErectorSpinaeMuscle, (87,), _RIGHT),
)


@dataclass(frozen=True)
class Volume:
    """A volume in patient coordinates: slices from feet to head, rows from front to back, columns from right to left.

    ``position`` is the LPS coordinate in mm of the first voxel, ``spacing`` in mm in the order of the axes.
    """

    values: NDArray[np.int32]
    spacing: tuple[float, float, float]
    position: tuple[float, float, float]


def instances(site: str, data: DataFolder) -> Iterator[FileDataset]:
    """The site's study, made as it is asked for: its CT slices from feet to head, then its segmentation.

    Parameters
    ----------
    site
        One of `SITES`.
    data
        What `demo.data.fetch` returned.
    """
    identity = IDENTITIES[site]
    slices = _own_slices(site, data, identity) if site == "c" else _wrapped_slices(site, data, identity)
    references: list[Dataset] = []
    for dataset in slices:
        references.append(_without_pixels(dataset))
        yield dataset
    yield segmentation(site, data, references)


def count(site: str, data: DataFolder) -> int:
    """How many instances `instances` yields, without making them."""
    if site == "c":
        return len(list(data.image(site).iterdir())) + 1
    return int(nibabel.load(data.image(site)).shape[2]) + 1


def read_volume(path: Path) -> Volume:
    """Read a NIfTI volume whose axes are parallel to the patient's and order it for DICOM.

    Raises
    ------
    ValueError
        The volume is oblique: it would have to be resampled.
    """
    image = nibabel.as_closest_canonical(nibabel.load(path))  # axes to R, A, S; no resampling
    affine = np.asarray(image.affine, dtype=float)
    steps = affine[:3, :3]
    if not np.allclose(steps, np.diag(np.diag(steps)), atol=1e-4):
        raise ValueError(f"{path.name} is oblique: only volumes parallel to the patient's axes are wrapped")
    data = np.asarray(image.dataobj)
    # R, A, S to L, P, S: both in-plane axes are read backwards, so the first voxel is the last of each.
    corner = affine @ (data.shape[0] - 1, data.shape[1] - 1, 0, 1)
    values = np.ascontiguousarray(data[::-1, ::-1, :].transpose(2, 1, 0)).astype(np.int32)
    x, y, z = np.diag(steps)
    return Volume(values, (float(z), float(y), float(x)), (float(-corner[0]), float(-corner[1]), float(corner[2])))


def _wrapped_slices(site: str, data: DataFolder, identity: Identity) -> Iterator[FileDataset]:
    volume = read_volume(data.image(site))
    depth, rows, columns = volume.values.shape
    for index in range(depth):
        dataset = _new_instance(site, f"ct-{index}")
        _describe(dataset, site, identity)
        dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        dataset.Manufacturer = ""  # the source does not say, nor with which voltage
        dataset.KVP = None
        dataset.SliceThickness = _ds(volume.spacing[0])
        dataset.PatientPosition = "HFS"
        dataset.FrameOfReferenceUID = _uid(site, "frame-of-reference")
        dataset.PositionReferenceIndicator = None
        dataset.AcquisitionNumber = 1
        dataset.InstanceNumber = index + 1
        x, y, z = volume.position
        dataset.ImagePositionPatient = [_ds(x), _ds(y), _ds(z + index * volume.spacing[0])]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.SliceLocation = _ds(z + index * volume.spacing[0])
        dataset.PixelSpacing = [_ds(volume.spacing[1]), _ds(volume.spacing[2])]
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.Rows, dataset.Columns = rows, columns
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
        dataset.PixelRepresentation = 0
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(_INTERCEPT), "1", "HU"
        dataset.WindowCenter, dataset.WindowWidth = "40", "400"
        dataset.PixelData = (volume.values[index] - _INTERCEPT).astype("<u2").tobytes()
        yield dataset


def _own_slices(site: str, data: DataFolder, identity: Identity) -> Iterator[FileDataset]:
    """Site C: real DICOM. The source has emptied its UIDs, so the data sets are read without a check of the file."""
    read = [pydicom.dcmread(path, force=True) for path in sorted(data.image(site).iterdir())]
    for index, dataset in enumerate(sorted(read, key=lambda one: float(one.ImagePositionPatient[2]))):
        fresh = _new_instance(site, f"ct-{index}", dataset.file_meta.TransferSyntaxUID)
        dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, fresh.SOPInstanceUID
        dataset.file_meta = fresh.file_meta
        _describe(dataset, site, identity)
        dataset.InstanceNumber = index + 1
        yield dataset


def segmentation(site: str, data: DataFolder, slices: Sequence[Dataset]) -> FileDataset:
    """The site's label map as one Segmentation: binary, a segment for each organ that occurs, empty frames left out.

    Parameters
    ----------
    slices
        The CT instances it was drawn on, from feet to head; their pixels are not needed.
    """
    labels = read_volume(data.labels(site)).values
    present = [organ for organ in ORGANS if np.isin(labels, organ.numbers).any()]
    numbered = np.zeros(labels.shape, dtype=np.uint8)
    for number, organ in enumerate(present, start=1):
        numbered[np.isin(labels, organ.numbers)] = number
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="TotalSegmentator", version="2", family=codes.DCM.ArtificialIntelligence
    )
    descriptions = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=organ.label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=organ.code,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, organ in enumerate(present, start=1)
    ]
    for description, organ in zip(descriptions, present, strict=True):
        if organ.side is not None:
            side = highdicom.sr.CodedConcept.from_code(organ.side)
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
    identity = IDENTITIES[site]
    made = highdicom.seg.Segmentation(
        source_images=slices,
        pixel_array=numbered,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=_uid(site, "series-seg"),
        series_number=900,
        sop_instance_uid=_uid(site, "seg"),
        instance_number=1,
        manufacturer="Wasserthal et al.",
        manufacturer_model_name="TotalSegmentator",
        software_versions="2",
        device_serial_number=identity.device_serial,
        content_creator_name=identity.reading_physician,
        content_label="ORGANS",
        omit_empty_frames=True,
    )
    made.SeriesDescription = "Organs"
    made.InstitutionName = identity.institution
    return made


def _new_instance(site: str, name: str, transfer_syntax: str = ExplicitVRLittleEndian) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = _uid(site, name)
    meta.TransferSyntaxUID = transfer_syntax
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    return dataset


def _describe(dataset: Dataset, site: str, who: Identity) -> None:
    """Patient, study, series and equipment as a hospital's modality and RIS fill them in."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.IssuerOfPatientID = who.patient_name, who.patient_id, who.issuer
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientAge = who.birth_date, who.sex, who.age
    dataset.OtherPatientNames, dataset.PatientMotherBirthName = who.other_patient_name, who.mother_birth_name
    insurance = Dataset()
    insurance.PatientID, insurance.TypeOfPatientID = who.insurance_number, "TEXT"
    dataset.OtherPatientIDsSequence = [insurance]
    dataset.PatientAddress, dataset.PatientTelephoneNumbers = who.address, who.phone
    dataset.PatientComments = who.study_comment

    dataset.StudyInstanceUID, dataset.StudyID = _uid(site, "study"), who.study_id
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = who.study_date
    dataset.StudyTime, dataset.SeriesTime = "101500", "101730"
    dataset.AcquisitionTime = dataset.ContentTime = "101812.250000"
    dataset.AccessionNumber = who.accession_number
    dataset.StudyDescription = "CT Abdomen" if site == "b" else "CT Thorax Abdomen"
    dataset.ReferringPhysicianName = who.referring_physician
    dataset.NameOfPhysiciansReadingStudy = who.reading_physician
    dataset.RequestingService = who.requesting_service
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = who.study_id, who.accession_number[:16]
    dataset.RequestAttributesSequence = [request]

    dataset.Modality, dataset.SeriesInstanceUID, dataset.SeriesNumber = "CT", _uid(site, "series-ct"), 2
    dataset.SeriesDescription = "Body 3.0" if site == "b" else "Body"
    dataset.BodyPartExamined = "ABDOMEN" if site == "b" else "CHEST"
    dataset.PerformingPhysicianName, dataset.OperatorsName = who.performing_physician, who.operator
    dataset.InstitutionName, dataset.InstitutionAddress = who.institution, who.institution_address
    dataset.InstitutionalDepartmentName = who.department
    dataset.StationName, dataset.DeviceSerialNumber = who.station, who.device_serial


def _without_pixels(dataset: Dataset) -> Dataset:
    """A copy that a segmentation can refer to and that weighs nothing."""
    light = FileDataset("", {}, file_meta=dataset.file_meta)
    light.update({element.tag: element for element in dataset if element.keyword != "PixelData"})
    return light


@cache
def _uid(site: str, name: str) -> str:
    return str(generate_uid(prefix=_ORIGIN, entropy_srcs=["fedpacs demo", site, name]))


def _ds(value: float) -> str:
    """A decimal string of at most 16 characters (PS3.5, VR DS)."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
