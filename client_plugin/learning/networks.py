"""MONAI networks by short name. A job chooses a name and plain numbers; which class that is, is the site's code.

By default none of them normalises by batch: there are no running statistics to average, and what a network says of an
image does not depend on the other images of a batch. With ``norm: batch`` a job chooses batch normalisation, and says
what becomes of its tensors: averaged with the others, or kept at the hospitals (FedBN).
"""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

_BOTTLENECK = 4  # MONAI's bn_size


class NetworkArgumentsError(ValueError):
    """The arguments do not fit the network; the message names the key."""


class Arguments(BaseModel):
    """What a job may set of one network."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: ClassVar[str]
    """Where MONAI has the class."""

    dense: ClassVar[bool] = False
    """Gives an output for each pixel instead of one for the image."""

    @abstractmethod
    def keywords(self) -> dict[str, Any]:
        """The arguments as the class takes them."""


class DenseNet(Arguments):
    """Huang et al., Densely connected convolutional networks, CVPR 2017."""

    path = "monai.networks.nets.densenet.DenseNet"

    init_features: int = Field(default=16, ge=4, le=128)
    growth_rate: int = Field(default=8, ge=4, le=64)
    block_config: tuple[int, ...] = Field(default=(2, 2, 2), min_length=1, max_length=5)
    norm: Literal["group", "batch"] = "group"
    groups: int = Field(default=4, ge=1, le=32, description="Only for the norm 'group'")
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _groups_fit(self) -> DenseNet:
        """Every normalised number of channels must be a multiple of the groups; transitions halve it."""
        if self.norm == "batch":
            return self
        features, bottleneck = self.init_features, _BOTTLENECK * self.growth_rate
        normalised = [features, bottleneck]
        for block, layers in enumerate(self.block_config):
            normalised += [features + layer * self.growth_rate for layer in range(layers + 1)]
            features = normalised[-1]
            if block < len(self.block_config) - 1:
                features //= 2
        if odd := [channels for channels in normalised if channels % self.groups]:
            raise ValueError(f"{odd[0]} channels cannot be normalised in {self.groups} groups")
        return self

    def keywords(self) -> dict[str, Any]:
        return {
            "init_features": self.init_features,
            "growth_rate": self.growth_rate,
            "bn_size": _BOTTLENECK,
            "block_config": list(self.block_config),
            "norm": "batch" if self.norm == "batch" else ["group", {"num_groups": self.groups}],
            "dropout_prob": self.dropout,
        }


class UNet(Arguments):
    """Ronneberger et al., U-Net, MICCAI 2015. The image's sides must be divisible by 2 to the number of its steps
    down."""

    path = "monai.networks.nets.unet.UNet"
    dense = True

    norm: Literal["instance", "batch"] = "instance"
    channels: tuple[int, ...] = Field(default=(8, 16, 32, 64), min_length=2, max_length=5)

    @field_validator("channels")
    @classmethod
    def _bounded(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 4 <= channels <= 512 for channels in value):
            raise ValueError("each level has between 4 and 512 channels")
        return value

    def keywords(self) -> dict[str, Any]:
        return {"channels": list(self.channels), "strides": [2] * (len(self.channels) - 1), "norm": self.norm}


NETWORKS: Mapping[str, type[Arguments]] = MappingProxyType({"densenet": DenseNet, "unet": UNet})


@dataclass(frozen=True)
class Definition:
    """A network, described: a class of MONAI and the values it is built with, as in a bundle's configuration."""

    path: str
    keywords: dict[str, Any]


def define(
    name: str, arguments: Mapping[str, Any], *, spatial_dims: int, in_channels: int, out_channels: int
) -> Definition:
    """Check a job's choice of network.

    Raises
    ------
    NetworkArgumentsError
        An unknown network or argument, or a value out of its range.
    """
    if name not in NETWORKS:
        raise NetworkArgumentsError(f"unknown network {name!r}; this site has {', '.join(sorted(NETWORKS))}")
    try:
        checked = NETWORKS[name](**arguments)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors())
        raise NetworkArgumentsError(f"network {name}: {problems}") from None
    shape = {"spatial_dims": spatial_dims, "in_channels": in_channels, "out_channels": out_channels}
    return Definition(checked.path, shape | checked.keywords())


def build(definition: Definition, seed: int) -> torch.nn.Module:
    """A network with initial weights that are the same for the same seed, at every hospital.

    The global random state is left as it was. MONAI is imported here, because that takes seconds.
    """
    module, _, name = definition.path.rpartition(".")
    network: type[torch.nn.Module] = getattr(importlib.import_module(module), name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(**definition.keywords)
