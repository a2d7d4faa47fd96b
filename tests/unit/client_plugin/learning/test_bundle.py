from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, load, verify_net_in_out

from client_plugin.learning.bundle import WEIGHTS, read_weights, write_bundle
from client_plugin.learning.networks import build
from client_plugin.learning.training import LocalTrainer, Weights
from tests.unit.client_plugin.learning import phantom


@pytest.fixture(scope="module")
def trained() -> tuple[LocalTrainer, Weights]:
    trainer = phantom.trainer(rounds=6, steps=20)
    weights = trainer.initial_weights()
    for number in range(6):
        weights = trainer.train_round(weights, number).weights
    return trainer, weights


@pytest.fixture
def bundle(tmp_path: Path, trained: tuple[LocalTrainer, Weights]) -> Path:
    trainer, weights = trained
    return write_bundle(tmp_path / "organ-bundle", trainer, weights, trainer.evaluate(weights))


def test_weights_are_read_back_as_they_were(bundle: Path, trained: tuple[LocalTrainer, Weights]) -> None:
    found = read_weights(bundle)
    assert found.keys() == trained[1].keys()
    assert all(np.array_equal(found[name], value) for name, value in trained[1].items())


def test_monai_loads_it_with_weights_only(bundle: Path, trained: tuple[LocalTrainer, Weights]) -> None:
    network = load(
        name=bundle.name, bundle_dir=str(bundle.parent), model=build(trained[0].definition, seed=9), device="cpu"
    )
    for name, parameter in network.named_parameters():
        assert np.array_equal(parameter.detach().numpy(), trained[1][name])


def test_monai_verifies_the_network_against_the_metadata(bundle: Path) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
    )


def test_the_metadata_has_what_the_specification_requires(bundle: Path) -> None:
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    required = {"version", "changelog", "monai_version", "pytorch_version", "numpy_version", "task", "description"}
    required |= {"authors", "copyright", "network_data_format", "required_packages_version", "schema", "name"}
    assert required <= metadata.keys()
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "liver", "1": "kidney"}


def test_its_inference_names_organs_on_files(bundle: Path) -> None:
    crops = bundle / "crops"
    crops.mkdir()
    case = phantom.case(seed=4)
    np.save(crops / "1-liver.npy", case.image[20, 6:34, 6:34])
    np.save(crops / "2-kidney.npy", case.image[20, 39:59, 5:25])
    workflow = ConfigWorkflow(
        workflow_type="infer",
        config_file=str(bundle / "configs" / "inference.json"),
        meta_file=str(bundle / "configs" / "metadata.json"),
        logging_file=False,
        bundle_root=str(bundle),
        device="$torch.device('cpu')",
    )
    grad = torch.is_grad_enabled()
    try:
        workflow.initialize()
        workflow.run()
        assert workflow.parser.get_parsed_content("predictions") == ["liver", "kidney"]
    finally:
        torch.set_grad_enabled(grad)


def test_the_card_says_what_the_model_is_not(bundle: Path) -> None:
    card = (bundle / "docs" / "README.md").read_text(encoding="utf-8")
    for words in ("Not a medical device", "Count patients", "optimistic", "1 patient", "federated averaging"):
        assert words.lower() in card.lower()
    assert "P1" not in card


def test_a_bundle_is_replaced_whole(bundle: Path, trained: tuple[LocalTrainer, Weights]) -> None:
    (bundle / "old").write_text("")
    trainer, weights = trained
    write_bundle(bundle, trainer, weights, trainer.evaluate(weights))
    assert not (bundle / "old").exists()
    assert (bundle / WEIGHTS).exists()
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]


def test_no_value_of_the_job_becomes_an_expression(bundle: Path) -> None:
    """All ``$`` of the configuration are ours: a job's values are checked to be names and numbers."""
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    assert parser["classes"] == ["liver", "kidney"]
    assert not [value for value in parser["network_def"].values() if isinstance(value, str) and "$" in value]
