from __future__ import annotations

import torch

from client_plugin.learning.augment import augment, random_affine, warp


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_state_gives_the_same_batch_and_another_another() -> None:
    images = torch.rand(3, 1, 24, 24)
    assert torch.equal(augment(images, 1, _generator()), augment(images, 1, _generator()))
    assert not torch.equal(augment(images, 1, _generator()), augment(images, 1, _generator(1)))


def test_strength_0_changes_nothing() -> None:
    images = torch.rand(3, 1, 24, 24)
    assert torch.equal(augment(images, 0, _generator()), images)
    identity = random_affine(3, 0, _generator())
    torch.testing.assert_close(warp(images, identity), images, atol=1e-5, rtol=0)


def test_each_image_of_a_batch_is_changed_differently() -> None:
    images = torch.rand(1, 1, 24, 24).expand(2, -1, -1, -1)
    first, second = augment(images, 1, _generator())
    assert not torch.equal(first, second)


def test_a_shift_moves_the_image_without_mirroring_it() -> None:
    image = torch.zeros(1, 1, 20, 20)
    image[..., 5, 4] = 1
    theta = torch.tensor([[[1.0, 0, 0], [0, 1.0, 0.2]]])  # reads 2 pixels further right
    moved = warp(image, theta)
    assert moved[0, 0, 5, 2] > 0.99
