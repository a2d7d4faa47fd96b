"""An archived study as a volume with labels, in patient coordinates.

Slices are ordered by their place along the normal and checked for gaps, duplicates and mixed geometry; instance
numbers say nothing reliable about any of it. The labels come from a DICOM Segmentation or an RT Structure Set drawn on
those slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import RTStructureSetStorage

from client_plugin.archive.archive import Archive
from client_plugin.archive.cohorts import StudyRef
from client_plugin.archive.geometry import describe_stack
from client_plugin.archive.instance import InstanceRow
from client_plugin.learning.contours import read_structure_set
from client_plugin.learning.segments import Segment, UnusableStudy


@dataclass(frozen=True)
class Case:
    """One study, ready for a task.

    Parameters
    ----------
    pseudonym
        The patient, as the archive calls them.
    image
        float32 (z, y, x) in the units of the rescale type, for CT: HU. z points to the head, y to the back, x to
        the patient's left.
    labels
        uint8 (z, y, x): number of the segment, 0 for none. Where segments overlap the higher number is kept.
    segments
        What the numbers mean.
    spacing
        mm between voxels along z, y, x.
    """

    pseudonym: str
    image: NDArray[np.float32]
    labels: NDArray[np.uint8]
    segments: tuple[Segment, ...]
    spacing: tuple[float, float, float]

    @property
    def label_names(self) -> dict[int, str]:
        return {segment.number: segment.label for segment in self.segments}


def load_case(archive: Archive, study: StudyRef) -> Case:
    """Read one study of a cohort.

    Raises
    ------
    UnusableStudy
        It has several image series or label objects (a query should choose), no regular stack of slices, or labels
        that are not drawn on these slices.
    """
    if len(study.image_series) != 1 or len(study.label_instances) != 1:
        raise UnusableStudy(
            f"the study has {len(study.image_series)} image series and {len(study.label_instances)} label objects "
            "that fit the cohort; narrow the query until each study has one of both"
        )
    rows = archive.series(study.image_series[0], study.version)
    check_stack(rows)
    first, depth = rows[0], describe_stack(rows).spacing
    if first.orientation is None or first.pixel_spacing is None or depth is None:
        raise UnusableStudy("the slices lack orientation, position or pixel spacing")
    image = np.empty((len(rows), first.rows, first.columns), dtype=np.float32)
    for index, row in enumerate(rows):
        _read_plane(archive, row.sop_instance_uid, into=image[index])
    labels, segments = _read_labels(_read(archive, study.label_instances[0]), rows)
    between_rows, between_columns = first.pixel_spacing[:2]
    axes, spacing = patient_axes(first.orientation, (depth, between_rows, between_columns))
    return Case(
        pseudonym=study.pseudonym,
        image=np.ascontiguousarray(apply_axes(image, axes)),
        labels=np.ascontiguousarray(apply_axes(labels, axes)),
        segments=segments,
        spacing=spacing,
    )


def _read_labels(dataset: Dataset, rows: Sequence[InstanceRow]) -> tuple[NDArray[np.uint8], tuple[Segment, ...]]:
    if dataset.SOPClassUID == RTStructureSetStorage:
        return read_structure_set(dataset, rows)
    return read_segmentation(dataset, [row.sop_instance_uid for row in rows], (rows[0].rows, rows[0].columns))


def check_stack(rows: Sequence[InstanceRow]) -> None:
    """Refuse slices that make no regular volume.

    Raises
    ------
    UnusableStudy
        With the reason: gaps, duplicates, mixed geometry, unplaced slices, or fewer than two slices.
    """
    geometry = describe_stack(rows)
    if geometry.regular and geometry.slices >= 2:
        return
    reasons = {
        f"{len(geometry.gaps)} gaps": bool(geometry.gaps),
        f"{geometry.duplicates} slices in the place of another": bool(geometry.duplicates),
        f"{geometry.unplaced} slices without a position": bool(geometry.unplaced),
        "mixed orientations or sizes": not geometry.uniform,
        "fewer than two slices": geometry.slices < 2,
    }
    raise UnusableStudy("no volume: " + ", ".join(reason for reason, holds in reasons.items() if holds))


Axes = tuple[tuple[int, bool], ...]
"""For each of z, y, x of the patient: the axis of the stack it is read from, and whether backwards."""


def patient_axes(
    orientation: Sequence[float], spacing: tuple[float, float, float]
) -> tuple[Axes, tuple[float, float, float]]:
    """How a stack is turned so that its axes point to head, back and left; without resampling.

    Parameters
    ----------
    orientation
        ImageOrientationPatient: direction of increasing column index, then of increasing row index (LPS).
    spacing
        mm along normal, rows, columns.

    Examples
    --------
    Coronal slices with the head at the top row: the stack's normal is the patient's y axis.

    >>> patient_axes((1, 0, 0, 0, 0, -1), (5.0, 2.0, 1.0))
    (((1, True), (0, False), (2, False)), (2.0, 5.0, 1.0))
    """
    along_row, along_column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    directions = np.stack([np.cross(along_row, along_column), along_column, along_row])  # of axes 0, 1, 2
    axes: list[tuple[int, bool]] = []
    for patient in (2, 1, 0):  # z, y, x of LPS
        free = [axis for axis in range(3) if axis not in [a for a, _ in axes]]
        axis = max(free, key=lambda a, p=patient: abs(float(directions[a][p])))  # type: ignore[misc]
        axes.append((axis, bool(directions[axis][patient] < 0)))
    z, y, x = (spacing[axis] for axis, _ in axes)
    return tuple(axes), (z, y, x)


def apply_axes(stack: NDArray[np.generic], axes: Axes) -> NDArray[np.generic]:
    """A view of ``stack`` with the axes of the patient."""
    turned = stack.transpose([axis for axis, _ in axes])
    return turned[tuple(slice(None, None, -1) if backwards else slice(None) for _, backwards in axes)]


def read_segmentation(
    dataset: Dataset, slices: Sequence[str], shape: tuple[int, ...]
) -> tuple[NDArray[np.uint8], tuple[Segment, ...]]:
    """Decode a Segmentation onto the slices it was drawn on.

    Parameters
    ----------
    slices
        SOP Instance UIDs in the order of the volume.
    shape
        Rows and columns of a slice.

    Returns
    -------
    labels
        uint8 (slices, rows, columns).
    segments
        By number.

    Raises
    ------
    UnusableStudy
        Another matrix, more than 255 segments, or not drawn on these slices.
    """
    import highdicom  # here, because only decoding needs it

    try:
        seg = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        # Without this, frames of other slices would silently be left out, and the labels would be empty.
        foreign = {str(uid) for _, _, uid in seg.get_source_image_uids()} - set(slices)
        labels = seg.get_pixels_by_source_instance(
            list(slices),
            combine_segments=True,
            skip_overlap_checks=True,
            assert_missing_frames_are_empty=True,
            dtype=np.uint8,
        )
    except (ValueError, KeyError, AttributeError, TypeError, RuntimeError) as error:
        # highdicom's text may quote attributes: the type says enough
        raise UnusableStudy(f"the segmentation cannot be laid on the slices ({type(error).__name__})") from None
    if foreign:
        raise UnusableStudy(f"the segmentation is drawn on {len(foreign)} instances that are not in the series")
    if labels.shape[1:] != shape:
        raise UnusableStudy("the segmentation has another matrix than the slices")
    return labels, tuple(_segment(item) for item in dataset.SegmentSequence)


def _segment(item: Dataset) -> Segment:
    concept = item.SegmentedPropertyTypeCodeSequence[0]
    sides = concept.get("SegmentedPropertyTypeModifierCodeSequence") or [Dataset()]
    return Segment(
        number=int(item.SegmentNumber),
        label=str(item.SegmentLabel),
        code=str(concept.get("CodeValue", "")),
        scheme=str(concept.get("CodingSchemeDesignator", "")),
        side=str(sides[0].get("CodeMeaning", "")).lower(),
    )


def _read(archive: Archive, uid: str) -> Dataset:
    return pydicom.dcmread(archive.open_object(uid))


def _read_plane(archive: Archive, uid: str, into: NDArray[np.float32]) -> None:
    dataset = _read(archive, uid)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    pixels = dataset.pixel_array
    if pixels.shape != into.shape:
        raise UnusableStudy("an image of the series has several frames or colours, or another size than it says")
    np.multiply(pixels, slope, out=into, casting="unsafe")
    into += intercept
