from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydicom.dataset import Dataset

from client_plugin.archive.instance import InstanceRow
from client_plugin.learning.contours import read_structure_set
from client_plugin.learning.segments import UnusableStudy
from tests.unit.client_plugin.archive.samples import ct

ROW, COLUMN = (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)  # sagittal: columns run to the back, rows to the feet


def _slices(orientation: tuple[float, ...] = (*ROW, *COLUMN)) -> list[InstanceRow]:
    """Five slices of 20 × 30, 3 mm apart, 2 mm between rows and 1 mm between columns."""
    normal = np.cross(orientation[:3], orientation[3:])
    found = []
    for index in range(5):
        position = tuple(float(v) for v in np.array([7.0, -4.0, 100.0]) + 3 * index * normal)
        meta = ct(
            index, rows=20, columns=30, position=position, orientation=orientation, pixel_spacing=(2.0, 1.0),
            location=float(np.dot(position, normal)),
        )  # fmt: skip
        values = {name: getattr(meta, name) for name in meta.__dataclass_fields__}
        found.append(InstanceRow(**values, version=1, size=1, sha256="", archived_at=None))  # type: ignore[arg-type]
    return found


def _contour(row: InstanceRow, corners: list[tuple[float, float]], kind: str = "CLOSED_PLANAR") -> Dataset:
    """A contour through (row index, column index) corners on a slice."""
    direction = np.asarray(row.orientation)
    points = [np.asarray(row.position) + r * 2.0 * direction[3:] + c * 1.0 * direction[:3] for r, c in corners]
    found = Dataset()
    found.ContourGeometricType = kind
    found.ContourData = [f"{v:.4f}" for point in points for v in point]
    return found


def _structure_set(regions: dict[int, list[Dataset]], frame: str = "2.25.1.99") -> Dataset:
    reference = Dataset()
    reference.FrameOfReferenceUID = frame
    found = Dataset()
    found.ReferencedFrameOfReferenceSequence = [reference]
    found.StructureSetROISequence, found.ROIContourSequence = [], []
    for number, contours in regions.items():
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, f"GTV-{number}"
        drawn.ReferencedROINumber, drawn.ContourSequence = number, contours
        found.StructureSetROISequence.append(roi)
        found.ROIContourSequence.append(drawn)
    return found


def _box(top: float, left: float, bottom: float, right: float) -> list[tuple[float, float]]:
    return [(top, left), (top, right), (bottom, right), (bottom, left)]


@pytest.mark.parametrize("orientation", [(*ROW, *COLUMN), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)], ids=("sagittal", "axial"))
def test_a_contour_is_filled_in_on_its_slice(orientation: tuple[float, ...]) -> None:
    slices = _slices(orientation)
    labels, segments = read_structure_set(_structure_set({4: [_contour(slices[2], _box(4.5, 9.5, 8.5, 19.5))]}), slices)
    expected = np.zeros((5, 20, 30), dtype=np.uint8)
    expected[2, 5:9, 10:20] = 4
    np.testing.assert_array_equal(labels, expected)
    assert [(s.number, s.label) for s in segments] == [(4, "GTV-4")]


def test_an_inner_contour_is_a_hole_and_the_higher_region_wins() -> None:
    slices = _slices()
    ring = [_contour(slices[1], _box(1.5, 1.5, 11.5, 11.5)), _contour(slices[1], _box(4.5, 4.5, 8.5, 8.5))]
    labels, _ = read_structure_set(
        _structure_set({1: ring, 2: [_contour(slices[1], _box(9.5, 1.5, 15.5, 5.5))]}), slices
    )
    assert labels[1, 6, 6] == 0
    assert labels[1, 3, 3] == 1
    assert labels[1, 11, 3] == 2
    assert not labels[[0, 2, 3, 4]].any()


def test_a_contour_beyond_the_image_is_cut_off() -> None:
    slices = _slices()
    labels, _ = read_structure_set(_structure_set({1: [_contour(slices[0], _box(-5, -5, 3.5, 3.5))]}), slices)
    assert labels[0].sum() == 16


def test_what_cannot_be_filled_in_is_refused() -> None:
    slices = _slices()
    box = _box(1, 1, 5, 5)
    far = replace(slices[4], position=tuple(np.asarray(slices[4].position) * 1 + np.array([-30.0, 0, 0])))  # type: ignore[arg-type]
    refused = {
        "encloses nothing": _structure_set({1: [_contour(slices[0], box, "POINT")]}),
        "does not lie on any slice": _structure_set({1: [_contour(far, box)]}),
        "another frame of reference": _structure_set({1: [_contour(slices[0], box)]}, frame="2.25.5"),
        "between 1 and 255": _structure_set({300: [_contour(slices[0], box)]}),
    }
    for reason, structure_set in refused.items():
        with pytest.raises(UnusableStudy, match=reason):
            read_structure_set(structure_set, slices)
