"""The comparison on two made-up hospitals, from their archives to the figures of the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from client_plugin.learning.bundle import write_bundle
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.training import LocalTrainer
from demo.compare import Hospitals, compare, example_crops, federation_curve, main, scores, train
from demo.result import Evaluation
from tests.unit.client_plugin.learning import phantom
from tests.unit.client_plugin.learning.archived import add_case, node, open_archive


@pytest.fixture(scope="module")
def config() -> LearningConfig:
    return phantom.config(rounds=2, steps=2)


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two hospitals; the second has no kidney."""
    found = {}
    for site, seed in (("hospital-a", 0), ("hospital-b", 1)):
        case = phantom.case(f"P{seed}", seed)
        if site == "hospital-b":
            case = replace(case, segments=case.segments[:1], labels=np.where(case.labels == 1, case.labels, 0))
        found[site] = node(tmp_path_factory.mktemp(site) / "kit", site)
        archive = open_archive(found[site])
        add_case(archive, case)
        archive.close()
    return found


@pytest.fixture(scope="module")
def hospitals(kits: dict[str, Path], config: LearningConfig) -> Hospitals:
    return Hospitals.open(kits, config)


def test_each_hospital_alone_all_together_and_the_federation_are_judged_on_every_slab(hospitals: Hospitals) -> None:
    federation = hospitals.trainer(*hospitals.data).initial_weights()
    said: list[str] = []
    found = compare(hospitals, federation, progressed=lambda name, *_: said.append(name))
    assert [(m.name, m.kind, m.trained_on) for m in found.models] == [
        ("hospital-a alone", "alone", ("hospital-a",)),
        ("hospital-b alone", "alone", ("hospital-b",)),
        ("federation", "federation", ("hospital-a", "hospital-b")),
        ("pooled data", "pooled", ("hospital-a", "hospital-b")),
    ]
    for model in found.models:
        assert [score.slab for score in model.scores] == ["hospital-a", "hospital-b"]
        assert [score.patients for score in model.scores] == [1, 1]
        assert [score.images for score in model.scores] == [len(d.held_out) for d in hospitals.data.values()]
        assert sum(model.scores[1].confusion[1]) == 0  # no kidney there
    assert sorted(set(said)) == ["hospital-a alone", "hospital-b alone", "pooled data"]
    assert found.crops


def test_a_model_of_the_comparison_is_the_recipe_of_a_round(hospitals: Hospitals, config: LearningConfig) -> None:
    """Alone means: a federation of one. The same start, rounds, steps and draws as the job's own trainer."""
    data = hospitals.data["hospital-a"]
    trainer = LocalTrainer(hospitals.trainer("hospital-a").task, data, config)
    weights = trainer.initial_weights()
    for number in range(config.training.rounds):
        weights = trainer.train_round(weights, number).weights
    model = train(hospitals, ["hospital-a"])
    assert all(np.array_equal(model.weights[name], value) for name, value in weights.items())
    assert [point.round for point in model.curve] == [1, 2]
    assert model.curve[-1].balanced_accuracy is not None


def test_outputs_are_told_apart_by_hospital(hospitals: Hospitals) -> None:
    """Outputs that are right for A and wrong for B."""
    a, b = (data.held_out for data in hospitals.data.values())
    right, wrong = torch.eye(2)[a.targets], 1 - torch.eye(2)[b.targets]
    found = scores(hospitals, torch.cat([right, wrong]))
    assert [score.balanced_accuracy for score in found] == [1, 0]


def test_examples_show_right_and_wrong_ones(hospitals: Hospitals) -> None:
    a, b = (data.held_out for data in hospitals.data.values())
    outputs = torch.cat([torch.eye(2)[a.targets], torch.eye(2)[b.targets]]) * 5
    outputs[: len(a) // 2] = outputs[: len(a) // 2].flip(1)
    crops = example_crops(hospitals, outputs)
    assert [crop.slab for crop in crops] == ["hospital-a"] * 6 + ["hospital-b"] * 6
    wrong = [crop.truth != crop.prediction for crop in crops]
    assert sum(wrong[:6]) == 3
    assert sum(wrong[6:]) == 0
    assert {crop.truth for crop in crops[:6]} == {"liver", "kidney"}
    assert crops == example_crops(hospitals, outputs)


def test_the_command_reads_the_jobs_model_and_rounds(
    kits: dict[str, Path], config: LearningConfig, hospitals: Hospitals, tmp_path: Path
) -> None:
    trainer = hospitals.trainer("hospital-a", "hospital-b")
    weights = trainer.initial_weights(seed=3)
    for kit in kits.values():
        folder = kit / "node" / "models" / "job-1"
        write_bundle(folder / "bundle", trainer, weights, trainer.evaluate(weights))
        rows = [{"round": n, "loss": 1 / n, "balanced_accuracy": n / 10, "seconds": 1.0, "images": 5} for n in (1, 2)]
        (folder / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    learning = tmp_path / "learning.json"
    learning.write_text(config.model_dump_json())
    out = tmp_path / "evaluation.json"
    arguments = [f"--out={out}", "--job=job-1", "--rounds=1", f"--learning={learning}", *map(str, kits.values())]
    assert main(arguments) == 0
    found = Evaluation.model_validate_json(out.read_text())
    federation = next(model for model in found.models if model.kind == "federation")
    assert federation.scores == scores(hospitals, trainer.outputs(weights))
    assert [(point.loss, point.balanced_accuracy) for point in federation.curve] == [(1.0, 0.2), (0.5, None)]
    assert len(next(model for model in found.models if model.kind == "alone").curve) == 1


def test_a_curve_is_the_mean_over_the_hospitals(tmp_path: Path) -> None:
    for site, loss in (("a", 1.0), ("b", 3.0)):
        (tmp_path / site).mkdir()
        (tmp_path / site / "rounds.jsonl").write_text(f'{{"round": 1, "loss": {loss}, "balanced_accuracy": 0.1}}\n')
    (point,) = federation_curve([tmp_path / "a", tmp_path / "b"])
    assert (point.round, point.loss, point.balanced_accuracy) == (1, 2.0, None)
