"""Which organ is in the crop? Classes are SNOMED CT codes, so hospitals need not label their segments alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from client_plugin.learning.augment import augment
from client_plugin.learning.config import ClassificationConfig
from client_plugin.learning.crops import Crop, Structure, crops
from client_plugin.learning.evaluation import Evaluation, confusion_matrix
from client_plugin.learning.segments import Segment
from client_plugin.learning.splits import choose_slabs
from client_plugin.learning.tasks.base import About, Samples, TaskData
from client_plugin.learning.volumes import Case

GUARD_MM = 3.0
"""Left unused on both sides of a held-out slab."""


class OrganClassification:
    """Crops of organs in three planes, cross entropy, balanced accuracy."""

    spatial_dims = 2
    in_channels = 1

    def __init__(self, config: ClassificationConfig, strength: float) -> None:
        self.config = config
        self.classes = tuple(config.classes)
        self._strength = strength
        size = config.image_size
        self.about = About(
            title="Which organ is in a 2-D crop of a CT",
            summary=f"Names the organ in a 2-D crop of a CT: {', '.join(self.classes)}.",
            recipe=f"Crops of {size} × {size} pixels in {', '.join(config.planes)} planes, boxed around the organ "
            "(the OrganMNIST recipe).",
            inputs="square crops in HU",
            image_size=size,
            window=config.window,
            dense=False,
        )

    def prepare(self, cases: Iterable[Case], held_out: frozenset[str]) -> TaskData:
        """Cut each case as it comes: only crops stay in memory, never more than one volume.

        Parameters
        ----------
        held_out
            Pseudonyms of the patients that are held out whole. When it is empty, each volume is split by slab.
        """
        sides: dict[bool, list[Crop]] = {False: [], True: []}
        patients: dict[bool, set[str]] = {False: set(), True: set()}
        for case in cases:
            for is_held, found in self._cut(case, held_out):
                sides[is_held] += found
                patients[is_held] |= {case.pseudonym} if found else set()
        training, held = (self._samples(sides[side], len(patients[side])) for side in (False, True))
        return TaskData(training, held)

    def _cut(self, case: Case, held_out: frozenset[str]) -> Iterable[tuple[bool, list[Crop]]]:
        structures = self.structures(case.segments)
        whole = (0, len(case.image))
        if held_out:
            slabs = [(case.pseudonym in held_out, whole)]
        else:
            chosen = choose_slabs(class_map(case.labels, structures), case.spacing, GUARD_MM)
            slabs = [(True, chosen.held), *((False, slab) for slab in chosen.training)]
        for is_held, (start, stop) in slabs:
            part = slice(start, stop)
            yield is_held, list(crops(case.image[part], case.labels[part], case.spacing, structures, self.config))

    def structures(self, segments: Iterable[Segment]) -> list[Structure]:
        """Segments of the same class and side make one structure; other segments are ignored."""
        wanted = {code: label for label, code in enumerate(self.config.classes.values())}
        found: dict[tuple[int, str], list[int]] = {}
        for segment in segments:
            if segment.scheme in ("SCT", "SNOMED") and segment.code in wanted:
                found.setdefault((wanted[segment.code], segment.side), []).append(segment.number)
        return [Structure(label, tuple(numbers)) for (label, _), numbers in sorted(found.items())]

    def _samples(self, found: list[Crop], patients: int) -> Samples:
        size = self.config.image_size
        images = np.stack([crop.image for crop in found]) if found else np.zeros((0, size, size), np.float32)
        targets = torch.tensor([crop.label for crop in found], dtype=torch.int64)
        planes = tuple(crop.plane for crop in found)
        return Samples(torch.from_numpy(images)[:, None], targets, balanced(targets), patients, planes)

    def augment(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return augment(images, self._strength, generator), targets

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(outputs, targets)

    def evaluate(self, outputs: torch.Tensor, samples: Samples) -> Evaluation:
        matrix = confusion_matrix(samples.targets.numpy(), outputs.argmax(dim=1).numpy(), len(self.classes))
        return Evaluation(self.classes, matrix, len(samples), samples.patients)


def balanced(targets: torch.Tensor) -> torch.Tensor:
    """Weights with which each class that occurs is drawn equally often.

    Examples
    --------
    >>> balanced(torch.tensor([0, 0, 3])).tolist()
    [0.5, 0.5, 1.0]
    """
    return 1 / torch.bincount(targets).clamp(min=1)[targets].float()


def pool(parts: Sequence[Samples]) -> Samples:
    """The samples of several hospitals as if they were in one place, drawn in balance over all of them."""
    targets = torch.cat([part.targets for part in parts])
    return Samples(
        images=torch.cat([part.images for part in parts]),
        targets=targets,
        weights=balanced(targets),
        patients=sum(part.patients for part in parts),
        planes=tuple(plane for part in parts for plane in part.planes),
    )


def class_map(labels: NDArray[np.uint8], structures: Iterable[Structure]) -> NDArray[np.uint8]:
    """Label numbers to class + 1, everything else to 0."""
    table = np.zeros(256, dtype=np.uint8)
    for structure in structures:
        table[list(structure.numbers)] = structure.label + 1
    mapped: NDArray[np.uint8] = table[labels]
    return mapped
