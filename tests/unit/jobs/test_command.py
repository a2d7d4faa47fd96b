"""The folders that ``fedpacs job`` writes are built as NVFlare would: every class with its arguments."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from client_plugin.cli import main
from client_plugin.learning.executor import FederatedTraining
from client_plugin.privacy.session import AggregationSession
from observability.nvflare_events import JobTimes
from server_config.workflow import EncryptedFedAvg

CLASSES = {one.__name__: one for one in (AggregationSession, EncryptedFedAvg, FederatedTraining, JobTimes)}


def built(folder: Path, name: str, *options: str) -> dict[str, Any]:
    """What the job's configuration makes, by class."""
    assert main(["job", name, "--out", str(folder), *options]) == 0
    config = folder / name / "app" / "config"
    server, client = (json.loads((config / f"config_fed_{side}.json").read_text()) for side in ("server", "client"))
    parts = [*server["workflows"], *server["components"], *client["components"], client["executors"][1]["executor"]]
    return {one["path"].rpartition(".")[2]: CLASSES[one["path"].rpartition(".")[2]](**one["args"]) for one in parts}


@pytest.mark.parametrize("name", ["organ-classification", "lesion-segmentation"])
@pytest.mark.parametrize("algorithm", ["fedavg", "fedprox", "scaffold"])
@pytest.mark.parametrize("batch_norm", [(), ("--batch-norm", "aggregate"), ("--batch-norm", "local")])
def test_every_job_takes_every_algorithm(
    tmp_path: Path, name: str, algorithm: str, batch_norm: tuple[str, ...]
) -> None:
    parts = built(tmp_path, name, "--algorithm", algorithm, "--server-optimizer", "fedyogi", *batch_norm)
    session, workflow = parts["AggregationSession"], parts["EncryptedFedAvg"]
    learning = parts["FederatedTraining"]._learning
    assert learning.task.name == name
    assert learning.training.algorithm == algorithm
    assert (learning.training.proximal_mu > 0) == (algorithm == "fedprox")
    assert learning.training.optimizer == ("sgd" if algorithm == "scaffold" else "adamw")
    assert learning.network.args.get("norm") == ("batch" if batch_norm else None)
    assert session.is_local("features.norm0.running_mean") == ("local" in batch_norm)
    assert session.settings == workflow._settings
    assert session.settings.optimizer.name == "fedyogi"


def test_a_proximal_term_without_fedprox_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["job", "organ-classification", "--out", str(tmp_path), "--proximal-mu", "1"]) == 1
    assert "--algorithm fedprox" in capsys.readouterr().err


def test_segmentation_asks_for_structure_sets_and_a_dense_network(tmp_path: Path) -> None:
    executor = built(tmp_path, "lesion-segmentation")["FederatedTraining"]
    assert executor._query.labels == "RTSTRUCT"
    assert executor._learning.network.name == "unet"
    assert executor._learning.task.labels == ("GTV-1",)
