"""Light augmentation of a batch of 2-D images: one random affine and one random change of grey values for each image.

The warp is MONAI's `AffineTransform` layer on the whole batch, which is an order of magnitude quicker than a
dictionary transform on each image. No mirroring: left and right tell organs apart.
"""

from __future__ import annotations

import torch
from monai.networks.layers.spatial_transforms import AffineTransform

_ANGLE, _SCALE, _SHIFT = 0.17, 0.15, 0.12  # radians; part of the size; part of half the field
_GAMMA, _CONTRAST, _BRIGHTNESS, _NOISE = 0.25, 0.10, 0.08, 0.03
_HALF = 0.5

_warp = AffineTransform(normalized=True, align_corners=False, padding_mode="zeros")


def random_affine(count: int, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Affine matrices (count, 2, 3) in normalised coordinates (row, column): rotation, scale along both, shift."""

    def uniform(*shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=generator) * 2 - 1) * strength

    angle, scale = uniform(count) * _ANGLE, 1 + uniform(count, 2) * _SCALE
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = scale[:, 0] * angle.cos(), -angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), scale[:, 1] * angle.cos()
    theta[:, :, 2] = uniform(count, 2) * _SHIFT
    return theta


def warp_labels(labels: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """The same for labels 0 and 1 (n, rows, columns): what is at least half a 1 stays one."""
    return (warp(labels[:, None].float(), theta)[:, 0] >= _HALF).long()


def warp(images: torch.Tensor, theta: torch.Tensor) -> torch.Tensor:
    """Resample images (n, channels, rows, columns) by one affine each; what comes from outside is 0."""
    warped: torch.Tensor = _warp(images, theta)
    return warped


def change_grey_values(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """Gamma, contrast, brightness and noise of images in 0..1."""

    def uniform() -> torch.Tensor:
        return (torch.rand(len(images), 1, 1, 1, generator=generator) * 2 - 1) * strength

    images = images.clamp(0, 1) ** torch.exp(uniform() * _GAMMA)
    images = images * (1 + uniform() * _CONTRAST) + uniform() * _BRIGHTNESS
    return images + torch.randn(images.shape, generator=generator) * (_NOISE * strength)


def augment(images: torch.Tensor, strength: float, generator: torch.Generator) -> torch.Tensor:
    """All of it; the same generator state gives the same result."""
    if strength == 0:
        return images
    return change_grey_values(warp(images, random_affine(len(images), strength, generator)), strength, generator)
