"""What a job may say about training. Values only: no class path, no expression, no file name.

Every key has a default, and together the defaults are the job ``organ-classification``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from client_plugin.learning.networks import NETWORKS

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9 _-]{0,63}")

Plane = Literal["axial", "coronal", "sagittal"]

#: Class name to the SNOMED CT code of the structure; left and right are one class.
ORGANS = {
    "liver": "10200004",
    "spleen": "78961009",
    "stomach": "69695003",
    "kidney": "64033007",
    "colon": "71854001",
    "aorta": "15825003",
    "lung": "39607008",
    "heart": "80891009",
    "spine": "421060004",
    "back muscle": "44947003",
}


class LearningConfigError(ValueError):
    """A job's learning arguments cannot be used; the message names the key."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Window(_Part):
    """The HU that become 0 and 1 (PS3.3 C.11.2, LINEAR_EXACT); values beyond are clipped."""

    centre: float = 40.0
    width: float = Field(default=400.0, gt=0)


class ClassificationConfig(_Part):
    """Which organ is it? The OrganMNIST recipe: 2-D crops of organs from CT in three planes."""

    name: Literal["organ-classification"] = "organ-classification"
    classes: dict[str, str] = Field(default_factory=lambda: dict(ORGANS), min_length=2, max_length=64)
    planes: tuple[Plane, ...] = Field(default=("axial", "coronal", "sagittal"), min_length=1)
    image_size: int = Field(default=48, ge=16, le=512, description="Pixels of a crop, square")
    window: Window = Window()
    margin: float = Field(default=0.15, ge=0, le=2, description="Field beyond the organ's box, as a part of its length")
    step_mm: float = Field(default=3.0, gt=0, description="Distance between neighbouring crops of one structure")
    min_extent_mm: float = Field(default=24.0, gt=0, description="Shortest side of an organ's box")
    min_area_mm2: float = Field(default=200.0, ge=0, description="Smallest section of an organ")
    max_aspect: float = Field(default=2.5, ge=1, description="Longest by shortest side of an organ's box")

    @field_validator("classes")
    @classmethod
    def _codes(cls, value: dict[str, str]) -> dict[str, str]:
        if len(set(value.values())) != len(value):
            raise ValueError("two classes have the same code")
        if any(not (code.isascii() and code.isdigit()) for code in value.values()):
            raise ValueError("a class is given by its SNOMED CT code, digits only")
        # Names end up in a bundle's configuration, where $, @ and % make an expression of a text.
        if any(not _NAME.fullmatch(name) for name in value):
            raise ValueError("a class name has up to 64 letters, digits, blanks, - and _, and begins with a letter")
        return value


class SegmentationConfig(_Part):
    """Which pixels are the lesion? Axial slices of a field around the middle, with a class for each pixel."""

    name: Literal["lesion-segmentation"] = "lesion-segmentation"
    labels: tuple[str, ...] = Field(default=("GTV-1",), min_length=1, description="Segments or regions, by label")
    image_size: int = Field(default=96, ge=32, le=512, multiple_of=16, description="Pixels of a slice, square")
    field_mm: float = Field(default=200.0, gt=0, le=600, description="Side of the field")
    window: Window = Window(centre=-200, width=1200)


_TASK_NAMES = ("organ-classification", "lesion-segmentation")

TaskConfig = Annotated[ClassificationConfig | SegmentationConfig, Field(discriminator="name")]


class NetworkConfig(_Part):
    """A MONAI network by its short name, and its arguments; see `networks.NETWORKS`."""

    name: str = "densenet"
    args: dict[str, Any] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in NETWORKS:
            raise ValueError(f"unknown network; this site has {', '.join(sorted(NETWORKS))}")
        return value


class TrainingConfig(_Part):
    """The optimiser's side: the learning rate falls along a cosine over the rounds."""

    rounds: int = Field(default=24, ge=1, le=10_000, description="Length of the schedule")
    steps: int = Field(default=20, ge=1, le=100_000, description="Optimiser steps in one round")
    batch_size: int = Field(default=64, ge=1, le=4096)
    learning_rate: float = Field(default=3e-3, gt=0, le=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    max_gradient_norm: float = Field(default=5.0, gt=0)
    augmentation: float = Field(default=1.0, ge=0, le=3, description="Strength; 0 switches it off")
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="The hospital's; sgd is without momentum")
    algorithm: Literal["fedavg", "fedprox", "scaffold"] = Field(
        default="fedavg", description="What holds hospitals together while they train apart"
    )
    proximal_mu: float = Field(
        default=0.0, ge=0, le=100, description="FedProx: how strongly weights are held to the round's start"
    )

    @model_validator(mode="after")
    def _algorithm_complete(self) -> TrainingConfig:
        """A value that would do nothing is refused, and so is one that is missing."""
        if (self.algorithm == "fedprox") != (self.proximal_mu > 0):
            raise ValueError("proximal_mu is above 0 with the algorithm fedprox, and with no other")
        if self.algorithm == "scaffold" and self.optimizer != "sgd":
            # Option II takes the mean gradient from the way that was made: only plain SGD makes it that.
            raise ValueError("the algorithm scaffold needs the optimizer sgd")
        return self


class LearningConfig(_Part):
    """All of it."""

    task: TaskConfig = ClassificationConfig()
    network: NetworkConfig = NetworkConfig()
    training: TrainingConfig = TrainingConfig()

    @field_validator("task", mode="before")
    @classmethod
    def _default_name(cls, value: Any) -> Any:
        """A task without a name is the one that all defaults are about."""
        return {"name": "organ-classification", **value} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _network_fits(self) -> LearningConfig:
        if NETWORKS[self.network.name].dense != isinstance(self.task, SegmentationConfig):
            raise ValueError(f"network {self.network.name} does not fit the task {self.task.name}")
        return self

    @classmethod
    def from_job(cls, arguments: dict[str, Any]) -> LearningConfig:
        """Check a job's plain arguments.

        Raises
        ------
        LearningConfigError
            An unknown key, or a value out of its range.
        """
        try:
            return cls.model_validate(arguments)
        except ValidationError as error:
            problems = "; ".join(f"{_key(e['loc'])}: {e['msg']}" for e in error.errors())
            raise LearningConfigError(f"learning arguments: {problems}") from None


def _key(location: tuple[int | str, ...]) -> str:
    """The key as it stands in the job: pydantic puts the task's name in between."""
    parts = [str(part) for n, part in enumerate(location) if not (n == 1 and part in _TASK_NAMES)]
    return ".".join(parts) or "job"
