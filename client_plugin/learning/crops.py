"""2-D crops of organs from a labelled volume: the recipe of OrganMNIST (Yang et al., MedMNIST v2, 2023).

In each plane and at each place the section of a structure is boxed, the box is made a square with a margin, cut out of
the windowed image and resized. A square keeps the organ's proportions whatever the voxels' are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from client_plugin.learning.config import ClassificationConfig, Plane, Window

_AXIS: dict[Plane, int] = {"axial": 0, "coronal": 1, "sagittal": 2}


@dataclass(frozen=True)
class Crop:
    """One crop.

    Parameters
    ----------
    image
        float32 (size, size) in 0..1; the top is the head (coronal, sagittal) or the front (axial).
    """

    image: NDArray[np.float32]
    label: int
    plane: Plane


@dataclass(frozen=True)
class Structure:
    """One connected thing to box: a class, and the label numbers that make it up (left and right are two)."""

    label: int
    numbers: tuple[int, ...]


def windowed(image: NDArray[np.float32], window: Window) -> NDArray[np.float32]:
    """HU to 0..1."""
    low = window.centre - window.width / 2
    return np.clip((image - np.float32(low)) / np.float32(window.width), 0, 1, dtype=np.float32)


def crops(
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    spacing: tuple[float, float, float],
    structures: Sequence[Structure],
    config: ClassificationConfig,
) -> Iterator[Crop]:
    """All crops of ``structures``.

    Parameters
    ----------
    image
        float32 (z, y, x) in HU. A crop that reaches beyond is filled with 0: pass a slab, and nothing of its
        neighbours can be in a crop.
    labels
        uint8 (z, y, x).
    spacing
        mm along z, y, x.
    """
    for structure in structures:
        mask = np.isin(labels, structure.numbers)
        if not mask.any():
            continue
        for plane in config.planes:
            for section, (top, left, side) in _fields(mask, spacing, plane, config):
                axis = _AXIS[plane]
                step = [mm for a, mm in enumerate(spacing) if a != axis]
                plane_hu = np.moveaxis(image, axis, 0)[section]
                cut = cut_square(plane_hu, config.window, (top, left, side), step, config.image_size)
                yield Crop(cut if plane == "axial" else np.ascontiguousarray(cut[::-1]), structure.label, plane)


def _fields(
    mask: NDArray[np.bool_], spacing: Sequence[float], plane: Plane, config: ClassificationConfig
) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """Sections worth a crop, each with its field: upper and left edge in mm, length of a side in mm."""
    axis = _AXIS[plane]
    sections = np.moveaxis(mask, axis, 0)
    rows_mm, columns_mm = (mm for a, mm in enumerate(spacing) if a != axis)
    area = sections.sum(axis=(1, 2)) * rows_mm * columns_mm
    # In a thin slab every section counts: there would be next to none otherwise.
    stride = max(1, round(config.step_mm / spacing[axis])) if len(sections) > 8 else 1
    for section in range(0, len(sections), stride):
        if not area[section] or area[section] < config.min_area_mm2:
            continue
        rows = np.flatnonzero(sections[section].any(axis=1))
        columns = np.flatnonzero(sections[section].any(axis=0))
        height, width = (rows[-1] - rows[0] + 1) * rows_mm, (columns[-1] - columns[0] + 1) * columns_mm
        short, long = sorted((height, width))
        if short < config.min_extent_mm or long > config.max_aspect * short:
            continue
        side = long * (1 + config.margin)
        centre_y, centre_x = (rows[0] + rows[-1] + 1) / 2 * rows_mm, (columns[0] + columns[-1] + 1) / 2 * columns_mm
        yield section, (centre_y - side / 2, centre_x - side / 2, side)


def cut_square(
    plane: NDArray[np.float32],
    window: Window | None,
    field: tuple[float, float, float],
    step: Sequence[float],
    size: int,
) -> NDArray[np.float32]:
    """Cut a square field out of a plane in HU, window it, and resize it to ``size`` pixels; outside is 0.

    Parameters
    ----------
    window
        None: the values are taken as they are.
    field
        Top, left and length of a side in mm, from the outer edge of the first pixel.
    step
        mm between rows, between columns.
    """
    top, left, side = field
    y0, y1 = int(np.floor(top / step[0])), int(np.ceil((top + side) / step[0]))
    x0, x1 = int(np.floor(left / step[1])), int(np.ceil((left + side) / step[1]))
    rows, columns = plane.shape
    inside = np.ascontiguousarray(plane[max(0, y0) : y1, max(0, x0) : x1])
    inside = inside if window is None else windowed(inside, window)
    padding = (max(0, -x0), max(0, x1 - columns), max(0, -y0), max(0, y1 - rows))
    padded = functional.pad(torch.from_numpy(inside)[None, None], padding)
    resized = functional.interpolate(padded, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
    return resized[0, 0].numpy()
