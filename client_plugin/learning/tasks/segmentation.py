"""Which pixels are the lesion? Labels of a Segmentation or of an RT Structure Set, one foreground class."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from monai.losses.dice import DiceCELoss
from numpy.typing import NDArray

from client_plugin.learning.augment import change_grey_values, random_affine, warp, warp_labels
from client_plugin.learning.config import SegmentationConfig
from client_plugin.learning.crops import cut_square
from client_plugin.learning.evaluation import Evaluation, confusion_matrix
from client_plugin.learning.splits import choose_slabs
from client_plugin.learning.tasks.base import About, Samples, TaskData
from client_plugin.learning.tasks.classification import GUARD_MM, balanced
from client_plugin.learning.volumes import Case


@dataclass
class _Side:
    """Slices on one side of the split."""

    images: list[NDArray[np.float32]]
    masks: list[NDArray[np.bool_]]
    patients: set[str]

    def samples(self, size: int) -> Samples:
        shape = (len(self.images), 1, size, size)
        images = np.stack(self.images) if self.images else np.zeros((0, size, size), np.float32)
        masks = np.stack(self.masks) if self.masks else np.zeros((0, size, size), bool)
        targets = torch.from_numpy(masks.astype(np.int64))
        # Slices with and without a lesion are drawn equally often.
        weights = balanced((targets.flatten(1).sum(dim=1) > 0).long())
        planes = ("axial",) * len(self.images)
        return Samples(torch.from_numpy(images.reshape(shape)), targets, weights, len(self.patients), planes)


class LesionSegmentation:
    """Axial slices, Dice and cross entropy, counted pixel by pixel."""

    spatial_dims = 2
    in_channels = 1
    classes: tuple[str, ...] = ("background", "lesion")

    def __init__(self, config: SegmentationConfig, strength: float) -> None:
        self.config = config
        self._strength = strength
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, include_background=False, batch=True)
        self.about = About(
            title="Which pixels of a CT slice are a lesion",
            summary="Marks the lesion on an axial CT slice.",
            recipe=f"Axial slices, {config.field_mm:g} mm square around the middle, {config.image_size} pixels a side; "
            f"the lesion is what is labelled {', '.join(config.labels)}.",
            inputs=f"axial slices in HU, {config.field_mm:g} mm square",
            image_size=config.image_size,
            window=config.window,
            dense=True,
        )

    def prepare(self, cases: Iterable[Case], held_out: frozenset[str]) -> TaskData:
        """Cut each case as it comes. A case without the labels is left out: nobody said where its lesions are."""
        sides = {side: _Side([], [], set()) for side in (False, True)}
        for case in cases:
            numbers = [s.number for s in case.segments if s.label.casefold() in self._labels]
            mask = np.isin(case.labels, numbers)
            if not mask.any():
                continue
            for is_held, (start, stop) in self._slabs(case, mask, held_out):
                side = sides[is_held]
                side.patients.add(case.pseudonym)
                for z in range(start, stop):
                    image, cut = self._cut(case.image[z], mask[z], case.spacing[1:])
                    side.images.append(image)
                    side.masks.append(cut)
        return TaskData(sides[False].samples(self.config.image_size), sides[True].samples(self.config.image_size))

    @property
    def _labels(self) -> frozenset[str]:
        return frozenset(label.casefold() for label in self.config.labels)

    def _slabs(
        self, case: Case, mask: NDArray[np.bool_], held_out: frozenset[str]
    ) -> list[tuple[bool, tuple[int, int]]]:
        if held_out:
            return [(case.pseudonym in held_out, (0, len(mask)))]
        slabs = choose_slabs(mask.astype(np.uint8), case.spacing, GUARD_MM)
        return [(True, slabs.held), *((False, slab) for slab in slabs.training)]

    def _cut(
        self, image: NDArray[np.float32], mask: NDArray[np.bool_], step: tuple[float, ...]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        height, width = image.shape[0] * step[0], image.shape[1] * step[1]
        side = self.config.field_mm
        field = ((height - side) / 2, (width - side) / 2, side)
        size = self.config.image_size
        return (
            cut_square(image, self.config.window, field, step, size),
            cut_square(mask.astype(np.float32), None, field, step, size) >= 0.5,
        )

    def augment(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both are warped alike; only images change their grey values."""
        if self._strength == 0:
            return images, targets
        theta = random_affine(len(images), self._strength, generator)
        return change_grey_values(warp(images, theta), self._strength, generator), warp_labels(targets, theta)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self._loss(outputs, targets[:, None])
        return found

    def evaluate(self, outputs: torch.Tensor, samples: Samples) -> Evaluation:
        said = outputs.argmax(dim=1).numpy()
        matrix = confusion_matrix(samples.targets.numpy(), said, len(self.classes))
        return Evaluation(self.classes, matrix, len(samples), samples.patients)
