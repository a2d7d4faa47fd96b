from __future__ import annotations

import pytest
import torch

from client_plugin.learning.networks import NetworkArgumentsError, build, define

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


def test_what_it_says_of_an_image_does_not_depend_on_the_batch() -> None:
    network, images = _network(0).train(), torch.rand(4, 1, 32, 32)
    torch.testing.assert_close(network(images)[:1], network(images[:1]))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("resnet", {}), ("densenet", {"act": "$exit()"}), ("densenet", {"init_features": 5}), ("densenet", {"groups": 3})],
)
def test_other_networks_and_arguments_are_refused(name: str, arguments: dict[str, object]) -> None:
    with pytest.raises(NetworkArgumentsError):
        define(name, arguments, spatial_dims=2, in_channels=1, out_channels=3)
