from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle import ConfigWorkflow, verify_net_in_out

from client_plugin.learning.bundle import write_bundle
from client_plugin.learning.config import LearningConfig, LearningConfigError
from client_plugin.learning.segments import Segment
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import TaskData
from client_plugin.learning.training import LocalTrainer, Weights
from client_plugin.learning.volumes import Case
from tests.unit.client_plugin.learning import phantom

LESION = Segment(1, "gtv-1", "", "")


def _case(pseudonym: str = "P1") -> Case:
    """The phantom's liver is the lesion: bright and smooth in the upper left."""
    whole = phantom.case(pseudonym)
    return replace(whole, segments=(LESION, *whole.segments[1:]))


def _config(**training: object) -> LearningConfig:
    settings = {"rounds": 4, "steps": 10, "batch_size": 8, "learning_rate": 1e-2}
    return LearningConfig.from_job(
        {
            "task": {
                "name": "lesion-segmentation",
                "image_size": 32,
                "field_mm": 128,
                "window": {"centre": 0, "width": 400},
            },
            "network": {"name": "unet", "args": {"channels": [8, 16]}},
            "training": {**settings, **training},
        }
    )


def _data(*cases: Case, held_out: frozenset[str] = frozenset()) -> TaskData:
    return open_task(_config()).prepare(cases, held_out)


@pytest.fixture(scope="module")
def trained() -> tuple[LocalTrainer, Weights]:
    config = _config()
    trainer = LocalTrainer(open_task(config), _data(_case()), config)
    weights = trainer.initial_weights()
    for number in range(config.training.rounds):
        weights = trainer.train_round(weights, number).weights
    return trainer, weights


def test_a_mask_lies_on_its_image() -> None:
    samples = _data(_case()).training
    assert samples.images.shape[1:] == (1, 32, 32)
    assert samples.targets.shape[1:] == (32, 32)
    inside = samples.images[:, 0][samples.targets == 1]
    assert inside.median() == pytest.approx(0.875)  # 150 HU in the window
    assert samples.targets[10].sum() == 144  # 24 × 24 pixels of 2 mm, seen at 4 mm


def test_slices_with_and_without_a_lesion_are_drawn_equally_often() -> None:
    samples = _data(_case()).training
    shown = samples.targets.flatten(1).any(dim=1)
    assert 0 < shown.sum() < len(samples)
    torch.testing.assert_close(samples.weights[shown].sum(), samples.weights[~shown].sum())


def test_a_case_whose_lesions_nobody_marked_is_left_out() -> None:
    unmarked = replace(_case("P2"), segments=phantom.case().segments)
    data = _data(_case(), unmarked)
    assert data.training.patients == 1
    assert len(_data(unmarked).training) == 0


def test_patients_are_held_out_whole() -> None:
    data = _data(_case("P1"), _case("P2"), held_out=frozenset({"P2"}))
    assert (len(data.training), len(data.held_out)) == (40, 40)


def test_image_and_mask_are_warped_alike() -> None:
    task = open_task(_config())
    targets = torch.zeros(6, 32, 32, dtype=torch.int64)
    targets[:, 8:20, 10:24] = 1
    images, warped = task.augment(targets[:, None].float(), targets, torch.Generator().manual_seed(0))
    assert not torch.equal(warped, targets)
    assert ((images[:, 0] > 0.5).long() == warped).float().mean() > 0.98


def test_it_learns_what_the_phantom_shows(trained: tuple[LocalTrainer, Weights]) -> None:
    trainer, weights = trained
    judged = trainer.evaluate(weights)
    assert judged.classes == ("background", "lesion")
    assert judged.images == len(trainer.data.held_out)
    assert judged.confusion.sum() == judged.images * 32 * 32
    assert judged.dice["lesion"] > 0.8


def test_its_bundle_is_verified_and_marks_lesions(trained: tuple[LocalTrainer, Weights], tmp_path: Path) -> None:
    trainer, weights = trained
    bundle = write_bundle(tmp_path / "bundle", trainer, weights, trainer.evaluate(weights))
    files = {
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "config_file": str(bundle / "configs" / "inference.json"),
    }
    verify_net_in_out(net_id="network_def", device="cpu", **files)
    outputs = json.loads(Path(files["meta_file"]).read_text())["network_data_format"]["outputs"]["pred"]
    assert outputs["channel_def"] == {"0": "background", "1": "lesion"}
    (bundle / "crops").mkdir()
    case = _case()
    np.save(bundle / "crops" / "slice.npy", case.image[20])
    workflow = ConfigWorkflow(
        workflow_type="infer", **files, logging_file=False, bundle_root=str(bundle), device="$torch.device('cpu')"
    )
    grad = torch.is_grad_enabled()
    try:
        workflow.initialize()
        workflow.run()
    finally:
        torch.set_grad_enabled(grad)
    marked = np.load(bundle / "crops" / "slice.npy.mask.npy") == 1
    truth = case.labels[20, ::2, ::2] == 1
    assert 2 * (marked & truth).sum() / (marked.sum() + truth.sum()) > 0.8


def test_a_network_that_does_not_fit_the_task_is_refused() -> None:
    for arguments in ({"task": {"name": "lesion-segmentation"}}, {"network": {"name": "unet"}}):
        with pytest.raises(LearningConfigError, match="does not fit"):
            LearningConfig.from_job(arguments)
