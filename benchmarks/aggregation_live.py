"""Seconds a round through provisioned kits: ``python -m benchmarks.aggregation_live [--quick]``.

Three hospitals as NVFlare processes with mTLS train MONAI's DenseNet121 for a few steps a round on made-up images,
once with NVFlare's plain FedAvg and once with ``he+masks``, in turns on the same machine. A round is the time from a
site's start of training to its next.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import results
from tests.federation.consortium import CLIENT_CLASSES, Consortium

SITES = ("hospital-a", "hospital-b", "hospital-c")
ROUNDS = 3
STEPS = 6
TURNS = 2


def executor(*, encrypted: bool) -> dict[str, Any]:
    return {"path": "benchmarks.live_executor.DenseNetExecutor", "args": {"encrypted": encrypted, "steps": STEPS}}


def base(**more: Any) -> dict[str, Any]:
    return {"format_version": 2, "task_data_filters": [], "task_result_filters": [], "components": [], **more}


def encrypted_job(rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """``he+masks``, 24 bits."""
    common = {"encryption": "he+masks", "bits": 24, "clip": 1.0, "max_weight": 1.0, "min_sites": 3}
    workflow = {"path": "server_config.workflow.EncryptedFedAvg", "args": {"num_rounds": rounds, **common}}
    session = {"id": "aggregation", "path": "client_plugin.privacy.session.AggregationSession", "args": common}
    ceremony = {"path": "client_plugin.privacy.ceremony.CeremonyExecutor", "args": {}}
    return (
        base(server={"task_request_interval": 0.5}, workflows=[{"id": "w", **workflow}]),
        base(
            components=[session],
            executors=[
                {"tasks": ["fedpacs_*"], "executor": ceremony},
                {"tasks": ["train", "finish"], "executor": executor(encrypted=True)},
            ],
        ),
    )


def plain_job(rounds: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """NVFlare's FedAvg, float32."""
    arguments = {
        "num_clients": len(SITES),
        "num_rounds": rounds,
        "persistor_id": "",
        "allow_empty_global_weights": True,
    }
    workflow = {"path": "nvflare.app_common.workflows.fedavg.FedAvg", "args": arguments}
    return (
        base(server={"task_request_interval": 0.5}, workflows=[{"id": "w", **workflow}]),
        base(executors=[{"tasks": ["train"], "executor": executor(encrypted=False)}]),
    )


def seconds(consortium: Consortium, job: tuple[dict[str, Any], dict[str, Any]]) -> list[float]:
    """Seconds from start to start, of every round but the last, of every site."""
    job_id = consortium.submit(*job)
    status = consortium.wait(job_id, timeout=600)
    if status != "FINISHED:COMPLETED":
        raise RuntimeError(f"job ended as {status}; see {consortium.folder}")
    found = []
    for site in SITES:
        starts = json.loads((consortium.kit(site) / job_id / "starts.json").read_text())[: ROUNDS + 1]
        found += [later - earlier for earlier, later in itertools.pairwise(starts)]
    return found


def consortium(folder: Path, *, encrypted: bool) -> Consortium:
    """Provisioned and started. The plain one has no ``privacy.json``: its hospitals protect nothing."""
    one = Consortium(
        folder, SITES, client_classes=[*CLIENT_CLASSES, "benchmarks."], server_classes=["nvflare.", "server_config."]
    )
    one.provision()
    if not encrypted:
        for site in SITES:
            (one.kit(site) / "local" / "privacy.json").unlink()
    one.start()
    return one


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one turn")
    turns = 1 if parser.parse_args().quick else TURNS
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(turns):
        for times, job, encrypted in ((plain, plain_job, False), (ours, encrypted_job, True)):
            with tempfile.TemporaryDirectory(dir=results.work()) as name:
                one = consortium(Path(name), encrypted=encrypted)
                try:
                    # One round more than is measured: a round ends where the next begins.
                    times += seconds(one, job(ROUNDS + 1))
                finally:
                    one.stop()
    figure = results.Figure(
        "round, DenseNet121, 3 hospitals, he+masks",
        statistics.median(ours),
        "s",
        statistics.median(plain),
        "plain FedAvg",
        1.5,
        lower_is_better=True,
    )
    print(results.table([figure]))
    results.save(
        "aggregation-live", [figure], ["nvflare", "torch", "monai"], rounds=ROUNDS, steps=STEPS, ours=ours, plain=plain
    )


if __name__ == "__main__":
    main()
