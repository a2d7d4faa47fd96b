from __future__ import annotations

import numpy as np
import pytest

from client_plugin.learning.config import ClassificationConfig, Window
from client_plugin.learning.crops import Structure, crops, cut_square, windowed

CONFIG = ClassificationConfig(image_size=32, margin=0, step_mm=6, min_extent_mm=10, min_area_mm2=0)
BOX = Structure(label=7, numbers=(1,))


def _body() -> tuple[np.ndarray, np.ndarray]:
    image = np.full((30, 40, 50), -1000, dtype=np.float32)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[5:25, 10:30, 20:40] = 1
    image[labels == 1] = 40
    return image, labels


def test_a_window_maps_its_edges_to_0_and_1() -> None:
    values = windowed(np.array([-1000, -160, 40, 240, 3000], dtype=np.float32), Window(centre=40, width=400))
    assert values.tolist() == pytest.approx([0, 0, 0.5, 1, 1])


def test_a_box_fills_its_crop_in_every_plane() -> None:
    image, labels = _body()
    found = list(crops(image, labels, (3, 3, 3), [BOX], CONFIG))
    assert {crop.plane for crop in found} == {"axial", "coronal", "sagittal"}
    assert all(crop.label == 7 for crop in found)
    assert all(np.allclose(crop.image, 0.5, atol=1e-6) for crop in found)
    assert len(found) == 30  # every second of 20 sections, in three planes


def test_proportions_are_kept_whatever_the_voxels_are() -> None:
    image, labels = _body()
    crop = next(c for c in crops(image, labels, (6, 3, 3), [BOX], CONFIG) if c.plane == "coronal")
    inside = crop.image > 0.25
    assert inside.any(axis=1).sum() == 32  # 120 mm high
    assert 15 <= inside.any(axis=0).sum() <= 18  # 60 mm wide


def test_the_head_is_up() -> None:
    image, labels = _body()
    image[20:25] += 150  # the part nearer to the head is brighter
    crop = next(c for c in crops(image, labels, (3, 3, 3), [BOX], CONFIG) if c.plane == "coronal")
    assert crop.image[:6].mean() > crop.image[-6:].mean()


def test_small_and_long_sections_are_left_out() -> None:
    image, labels = _body()
    assert not list(crops(image, labels, (3, 3, 3), [BOX], CONFIG.model_copy(update={"min_extent_mm": 61.0})))
    assert not list(crops(image, labels, (3, 3, 3), [BOX], CONFIG.model_copy(update={"min_area_mm2": 3601.0})))
    labels[:, 12:] = 0
    assert not list(
        crops(image, labels, (3, 3, 3), [BOX], CONFIG.model_copy(update={"min_extent_mm": 1.0, "planes": ("axial",)}))
    )


def test_nothing_beyond_the_slab_gets_into_a_crop() -> None:
    """The neighbouring slab is white; a margin reaches over the border and must find 0 there."""
    image, labels = _body()
    image[15:] = 3000
    wide = CONFIG.model_copy(update={"margin": 1.0})
    for crop in crops(image[:15], labels[:15], (3, 3, 3), [BOX], wide):
        assert crop.image.max() <= 0.5 + 1e-6


def test_a_field_beyond_the_plane_is_filled_with_0() -> None:
    plane = np.full((10, 10), 240, dtype=np.float32)
    cut = cut_square(plane, Window(), (-10, -10, 20), (1, 1), 20)
    assert cut[11:, 11:].min() == pytest.approx(1)
    assert cut[:9].max() == 0
    assert cut[:, :9].max() == 0
