"""An RT Structure Set as a label volume: its contours, filled in on the slices that they lie on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from skimage.draw import polygon

from client_plugin.archive.geometry import location_along_normal
from client_plugin.archive.instance import InstanceRow
from client_plugin.learning.segments import Segment, UnusableStudy

_OFF_PLANE = 0.5  # a contour may lie off its slice by this part of the slices' distance


def read_structure_set(dataset: Dataset, rows: Sequence[InstanceRow]) -> tuple[NDArray[np.uint8], tuple[Segment, ...]]:
    """Fill in the regions of interest (PS3.3 C.8.8.6) on the slices of a volume.

    A pixel belongs to a region when its centre lies inside. Where contours of one region overlap on one slice, the
    inner one is a hole. Regions that overlap: the higher number is kept.

    Parameters
    ----------
    rows
        The slices in the order of the volume, with position, orientation, spacing and size.

    Returns
    -------
    labels
        uint8 (slices, rows, columns).
    segments
        By ROI number. Structure sets seldom code what a region is, so only the label says it.

    Raises
    ------
    UnusableStudy
        Another frame of reference, contours off the slices, points or open lines, or more than 255 regions.
    """
    frames = {
        str(item.get("FrameOfReferenceUID", "")) for item in dataset.get("ReferencedFrameOfReferenceSequence", [])
    }
    if rows[0].frame_of_reference_uid and frames - {""} and rows[0].frame_of_reference_uid not in frames:
        raise UnusableStudy("the structure set has another frame of reference than the slices")
    names = {int(item.ROINumber): str(item.get("ROIName", "")) for item in dataset.StructureSetROISequence}
    if any(not 1 <= number <= 255 for number in names):
        raise UnusableStudy("a region's number is not between 1 and 255")
    labels = np.zeros((len(rows), rows[0].rows, rows[0].columns), dtype=np.uint8)
    contours = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence", [])}
    for number in sorted(contours.keys() & names.keys()):
        for index, mask in _filled(contours[number], rows).items():
            labels[index][mask] = number
    return labels, tuple(Segment(number, name, code="", scheme="") for number, name in sorted(names.items()))


def _filled(region: Dataset, rows: Sequence[InstanceRow]) -> dict[int, NDArray[np.bool_]]:
    """Slice index to the region's mask on it."""
    masks: dict[int, NDArray[np.bool_]] = {}
    shape = (rows[0].rows, rows[0].columns)
    for points in _closed_contours(region):
        index = _slice_of(points, rows)
        mask = np.zeros(shape, dtype=bool)
        mask[polygon(*_to_pixels(points, rows[index]).T, shape=shape)] = True
        masks[index] = masks[index] ^ mask if index in masks else mask
    return masks


def _closed_contours(region: Dataset) -> Iterator[NDArray[np.float64]]:
    """Points (n, 3) in mm of each contour."""
    for contour in region.get("ContourSequence", []):
        kind = str(contour.get("ContourGeometricType", ""))
        if kind not in ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR"):
            raise UnusableStudy(f"a region has a contour that encloses nothing ({kind or 'no type'})")
        yield np.asarray(contour.ContourData, dtype=np.float64).reshape(-1, 3)


def _slice_of(points: NDArray[np.float64], rows: Sequence[InstanceRow]) -> int:
    orientation = rows[0].orientation or ()
    places = np.array([row.location for row in rows], dtype=np.float64)
    at = np.array([location_along_normal(point, orientation) for point in (points.min(0), points.max(0))])
    index = int(np.abs(places - at.mean()).argmin())
    if np.abs(at - places[index]).max() > _OFF_PLANE * float(np.median(np.diff(places))):
        raise UnusableStudy("a contour does not lie on any slice")
    return index


def _to_pixels(points: NDArray[np.float64], row: InstanceRow) -> NDArray[np.float64]:
    """Points (n, 3) in mm to (n, 2): row and column index, pixel centres being whole numbers (PS3.3 C.7.6.2.1.1)."""
    along_row, along_column = np.asarray(row.orientation)[:3], np.asarray(row.orientation)[3:]
    offset = points - np.asarray(row.position)
    between_rows, between_columns = (row.pixel_spacing or (1.0, 1.0))[:2]
    return np.stack([offset @ along_column / between_rows, offset @ along_row / between_columns], axis=1)
