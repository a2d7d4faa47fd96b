"""The configuration of a job that adds up what ``tests.federation.numpy_executor`` makes."""

from __future__ import annotations

from typing import Any

ROUNDS = 2


def job(
    encryption: str = "he",
    executor: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    client: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Server's and client's configuration."""
    common = {"encryption": encryption, "bits": 24, "clip": 1.0, "max_weight": 1024, "min_sites": 2}
    workflow = "server_config.workflow.EncryptedFedAvg"
    if "lies" in (server or {}):
        workflow = "tests.federation.lying_server.LyingFedAvg"
    base = {"format_version": 2, "task_data_filters": [], "task_result_filters": [], "components": []}
    return (
        {
            **base,
            "server": {"task_request_interval": 0.2},
            "workflows": [
                {"id": "fedavg", "path": workflow, "args": {"num_rounds": ROUNDS, **common, **(server or {})}}
            ],
        },
        {
            **base,
            "components": [
                {
                    "id": "aggregation",
                    "path": "client_plugin.privacy.session.AggregationSession",
                    "args": {**common, **(client or {})},
                }
            ],
            "executors": [
                {
                    "tasks": ["fedpacs_*"],
                    "executor": {"path": "client_plugin.privacy.ceremony.CeremonyExecutor", "args": {}},
                },
                {
                    "tasks": ["train", "finish"],
                    "executor": {"path": "tests.federation.numpy_executor.NumpyExecutor", "args": executor or {}},
                },
            ],
        },
    )
