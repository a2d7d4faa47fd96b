from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from client_plugin.learning.networks import NetworkArgumentsError, build, define
from client_plugin.learning.training import load_weights, to_weights
from jobs.folder import BATCH_NORM

SMALL = {"init_features": 8, "growth_rate": 8, "block_config": (1, 1)}


def _network(seed: int) -> torch.nn.Module:
    return build(define("densenet", SMALL, spatial_dims=2, in_channels=1, out_channels=3), seed)


def test_the_same_seed_gives_the_same_start_and_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    one, same, other = (_network(seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_there_are_no_running_statistics_to_average() -> None:
    assert not list(_network(0).buffers())


def _unet(norm: str) -> torch.nn.Module:
    return build(define("unet", {"norm": norm}, spatial_dims=2, in_channels=1, out_channels=2), 0)


def _densenet(norm: str) -> torch.nn.Module:
    return build(define("densenet", {"norm": norm}, spatial_dims=2, in_channels=1, out_channels=3), 0)


@pytest.mark.parametrize("network", [_unet("batch"), _densenet("batch")], ids=["unet", "densenet"])
def test_fedbn_keeps_exactly_the_layers_of_batch_normalisation(network: torch.nn.Module) -> None:
    patterns = [re.compile(pattern) for pattern in BATCH_NORM]
    kept = {name for name in to_weights(network) if any(pattern.search(name) for pattern in patterns)}
    layers = {name: one for name, one in network.named_modules() if isinstance(one, torch.nn.BatchNorm2d)}
    assert kept == {f"{name}.{part}" for name in layers for part in ("weight", "bias", "running_mean", "running_var")}
    assert len(kept) >= 12


def test_running_statistics_travel_with_the_weights_and_come_back() -> None:
    network, other = _densenet("batch"), _densenet("batch")
    network.train()(torch.rand(8, 1, 32, 32))
    weights = to_weights(network)
    changed = [n for n, v in weights.items() if "running_" in n and not np.array_equal(v, to_weights(other)[n])]
    assert len(changed) > 10
    load_weights(other, weights)
    image = torch.rand(1, 1, 32, 32)
    assert torch.equal(network.eval()(image), other.eval()(image))
    # As a bundle's configuration loads them: PyTorch does without its count of batches.
    third = _densenet("batch")
    third.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
    assert torch.equal(network(image), third.eval()(image))


def test_what_it_says_of_an_image_does_not_depend_on_the_batch() -> None:
    network, images = _network(0).train(), torch.rand(4, 1, 32, 32)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet", {}),
        ("densenet", {"act": "$exit()"}),
        ("densenet", {"init_features": 5}),
        ("densenet", {"groups": 3}),
        ("unet", {"norm": "$exit()"}),
    ],
)
def test_other_networks_and_arguments_are_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(NetworkArgumentsError):
        define(name, arguments, spatial_dims=2, in_channels=1, out_channels=3)
