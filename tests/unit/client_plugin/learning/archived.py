"""A phantom's case as DICOM in a real archive: CT slices and a Segmentation, as the node would have archived them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import highdicom
import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from client_plugin.archive.archive import Archive
from client_plugin.archive.cohorts import CohortQuery, CohortSnapshot, freeze
from client_plugin.archive.instance import ArchivedInstance
from client_plugin.config import NodeConfig
from client_plugin.learning.volumes import Case

QUERY = CohortQuery(modality=("CT",), labels="SEG")
AXIAL = (1, 0, 0, 0, 1, 0)


def node(folder: Path, site: str = "hospital-t") -> Path:
    """A kit with nothing but the node's configuration."""
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text(f"site: {site}\n", encoding="utf-8")
    return folder


def open_archive(kit: Path) -> Archive:
    return Archive.open(NodeConfig.load(kit))


def slices(
    case: Case,
    orientation: Sequence[float] = AXIAL,
    *,
    stack: np.ndarray | None = None,
    spacing: tuple[float, float, float] | None = None,
) -> list[FileDataset]:
    """One CT instance a slice of ``stack`` (default: the case's image), placed along the normal of ``orientation``."""
    stack = case.image if stack is None else stack
    between, rows_mm, columns_mm = spacing or case.spacing
    normal = np.cross(orientation[:3], orientation[3:])
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    found = []
    for index, plane in enumerate(stack):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "", case.pseudonym, "", ""
        ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20200101", "120000", "", ""
        ds.Modality, ds.BodyPartExamined, ds.SeriesNumber = "CT", "ABDOMEN", 1
        ds.InstanceNumber = len(stack) - index  # says the opposite of the positions
        ds.ImagePositionPatient = [float(v) for v in normal * between * index]
        ds.ImageOrientationPatient, ds.PixelSpacing = list(orientation), [rows_mm, columns_mm]
        ds.SliceThickness = between
        ds.Rows, ds.Columns = plane.shape
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-1024"
        ds.PixelData = np.round((plane + 1024) / 0.5).astype("<u2").tobytes()
        found.append(ds)
    return found


def segmentation(case: Case, drawn_on: Sequence[FileDataset], labels: np.ndarray | None = None) -> FileDataset:
    """The case's labels as a binary Segmentation."""
    sides = {"left": codes.SCT.Left, "right": codes.SCT.Right}
    descriptions = []
    for segment in case.segments:
        description = highdicom.seg.SegmentDescription(
            segment_number=segment.number,
            segment_label=segment.label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=Code(segment.code, segment.scheme, segment.label),
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        if segment.side:
            side = highdicom.sr.CodedConcept.from_code(sides[segment.side])
            description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]
        descriptions.append(description)
    return highdicom.seg.Segmentation(
        source_images=list(drawn_on),
        pixel_array=case.labels if labels is None else labels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=2,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
    )


def add(archive: Archive, pseudonym: str, *datasets: FileDataset) -> CohortSnapshot:
    """Archive the instances, last one first, seal their studies and freeze a cohort of everything."""
    for dataset in reversed(datasets):
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        archive.add(buffer.getvalue(), ArchivedInstance.from_dataset(dataset, pseudonym))
    archive.catalogue.seal_quiet_studies(timedelta(0), datetime.now(UTC) + timedelta(minutes=1))
    return freeze(archive.catalogue, QUERY)


def add_case(archive: Archive, case: Case) -> CohortSnapshot:
    images = slices(case)
    return add(archive, case.pseudonym, *images, segmentation(case, images))
