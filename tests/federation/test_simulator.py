"""The same job in NVFlare's simulator, with the gates in the job, as there are no kits to put them in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.federation.consortium import ROOT
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES, update, weight

pytestmark = pytest.mark.federation

SITES = ("site-1", "site-2", "site-3")


def simulate(folder: Path) -> tuple[Path, str]:
    """Run the job; the answer is the workspace and what was printed."""
    server, client = job("he+masks")
    gates = "client_plugin.privacy.filters."
    # A job's filters are found by a task's full name.
    names = [f"fedpacs_{n}" for n in ("announce", "keys", "confirm", "ready", "reveal")] + ["train", "finish"]
    client["task_data_filters"] = [{"tasks": names, "filters": [{"path": gates + "OpenAggregate", "args": {}}]}]
    client["task_result_filters"] = [{"tasks": names, "filters": [{"path": gates + "SealUpdate", "args": {}}]}]
    local = folder / "ws" / "local"
    local.mkdir(parents=True)
    allowed = ["client_plugin.privacy.", "server_config.workflow.", "tests.federation."]
    (local / "resources.json").write_text(json.dumps({"format_version": 2, "class_allow_list": allowed}))
    config = folder / "job" / "app" / "config"
    config.mkdir(parents=True)
    meta = {"name": "sum", "resource_spec": {}, "min_clients": 3, "deploy_map": {"app": ["@ALL"]}}
    (folder / "job" / "meta.json").write_text(json.dumps(meta))
    (config / "config_fed_server.json").write_text(json.dumps(server))
    (config / "config_fed_client.json").write_text(json.dumps(client))
    certificates = str(folder / "certificates")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "FEDPACS_SIMULATION": certificates}
    module = "nvflare.private.fed.app.simulator.simulator"
    command = [sys.executable, "-m", module, str(folder / "job"), "-w", str(folder / "ws"), "-n", "3", "-t", "3"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    return folder / "ws", done.stdout + done.stderr


def test_the_job_runs_in_the_simulator(tmp_path: Path) -> None:
    workspace, said = simulate(tmp_path)
    weights = [weight(site) for site in SITES]
    for site in SITES:
        (found,) = (workspace / site).rglob("got.json")
        answers = json.loads(found.read_text())
        assert [answer["step"] for answer in answers] == [1, 2], said[-3000:]
        for step, answer in enumerate(answers):
            for name in SHAPES:
                exact = np.average([update(one, step)[name] for one in SITES], axis=0, weights=weights).ravel()
                assert np.abs(np.array(answer["mean"][name]) - exact).max() < 1e-6
