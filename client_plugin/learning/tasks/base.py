"""What a task is: volumes become samples, a batch becomes a loss, predictions become an evaluation.

A task is a class here, installed by the site; a job only names it. To add one: write a module with a class that has
these methods, give its configuration a ``name`` of its own, and list both in `tasks.open_task` and `config`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch

from client_plugin.learning.config import Window
from client_plugin.learning.evaluation import Evaluation
from client_plugin.learning.volumes import Case


@dataclass(frozen=True)
class Samples:
    """Images with their targets.

    Parameters
    ----------
    images
        float32 (n, channels, ...).
    targets
        int64 (n,) for a class an image, (n, ...) for a class a pixel.
    weights
        float32 (n,): how often an image is drawn in training, relative to the others.
    patients
        How many patients they come from.
    planes
        For each image the plane it was cut in, for display; may be empty.
    """

    images: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor
    patients: int
    planes: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.targets)


@dataclass(frozen=True)
class TaskData:
    """A hospital's two sides. No voxel is in both."""

    training: Samples
    held_out: Samples


@dataclass(frozen=True)
class About:
    """What a model card and a bundle say of a task.

    Parameters
    ----------
    title, summary
        A phrase, and a sentence.
    recipe
        How images are cut from volumes.
    inputs
        What a file to infer on holds.
    window
        The HU that become 0 and 1.
    dense
        A class for each pixel instead of one for the image.
    """

    title: str
    summary: str
    recipe: str
    inputs: str
    image_size: int
    window: Window
    dense: bool


class Task(Protocol):
    """See the module's text."""

    about: About

    spatial_dims: int
    in_channels: int
    classes: tuple[str, ...]

    def prepare(self, cases: Iterable[Case], held_out: frozenset[str]) -> TaskData:
        """Cut samples; patients in ``held_out`` are held out whole, all others by slab if it is empty."""

    def augment(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a training batch at random, images and targets alike."""

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss of a batch."""

    def evaluate(self, outputs: torch.Tensor, samples: Samples) -> Evaluation:
        """Judge the outputs for all of ``samples``."""
