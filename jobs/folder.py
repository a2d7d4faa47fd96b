"""Writes an NVFlare job folder that holds configuration only (decision 1 of the design)."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

Json = dict[str, Any]

# How often a site asks for its next task. NVFlare's 2 s would be most of the time of a short round.
TASK_REQUEST_SECONDS = 0.5

NVFLARE_TIMES: Json = {"id": "job_times", "path": "observability.nvflare_events.JobTimes", "args": {}}
"""NVFlare times a job's events (tasks, filters), and each participant's Prometheus gets to know."""


class Federation(BaseModel):
    """How the sites of a job work together: the arguments of the server's workflow and of the sites' session.

    A site's policy may demand more than what is asked for here; then it refuses the job and says why.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    rounds: int = Field(default=24, ge=1)
    min_sites: int = Field(default=3, ge=2, description="Fewer contributions than this end the job as failed")
    required_sites: tuple[str, ...] = Field(default=(), description="Sites the job cannot do without")
    encryption: str = Field(default="he+masks", pattern=r"^(he\+masks|he|masks)$")
    bits: int = Field(default=24, description="Fixed-point bits per value: 16, 21 or 24")
    clip: float = Field(default=1.0, gt=0, description="Bound on each value of an update")
    max_weight: float = Field(default=65536.0, gt=0, description="Bound on a site's weight, its training images")
    round_timeout: int = Field(default=600, gt=0, description="Seconds a site may take for a round")


@dataclass(frozen=True)
class JobFolder:
    """A job, ready to be written.

    Attributes
    ----------
    name
        The job's name: what a site's policy lists.
    learning
        What the sites learn and how (`client_plugin.learning.config.LearningConfig`); the length of its schedule is
        the federation's number of rounds.
    cohort
        Which studies (`client_plugin.archive.cohorts.CohortQuery`).
    """

    name: str
    learning: Json
    cohort: Json
    federation: Federation = field(default_factory=Federation)

    def meta(self) -> Json:
        """``meta.json``: every site of the federation takes part."""
        return {
            "name": self.name,
            "resource_spec": {},
            "deploy_map": {"app": ["@ALL"]},
            "min_clients": self.federation.min_sites,
            "mandatory_clients": list(self.federation.required_sites),
        }

    def server(self) -> Json:
        """``config_fed_server.json``."""
        fed = self.federation
        return {
            "format_version": 2,
            "server": {"task_request_interval": TASK_REQUEST_SECONDS},
            "workflows": [
                {
                    "id": "encrypted_fedavg",
                    "path": "server_config.workflow.EncryptedFedAvg",
                    "args": {
                        "num_rounds": fed.rounds,
                        "required_sites": list(fed.required_sites),
                        "round_timeout": fed.round_timeout,
                        **self._aggregation(),
                    },
                }
            ],
            "components": [NVFLARE_TIMES],
            "task_data_filters": [],
            "task_result_filters": [],
        }

    def client(self) -> Json:
        """``config_fed_client.json``. The filters are not here: they are the hospital's own."""
        return {
            "format_version": 2,
            "executors": [
                {
                    "tasks": ["fedpacs_*"],
                    "executor": {"path": "client_plugin.privacy.ceremony.CeremonyExecutor", "args": {}},
                },
                {
                    "tasks": ["train", "finish"],
                    "executor": {
                        "path": "client_plugin.learning.executor.FederatedTraining",
                        "args": {"learning": self._schedule(), "cohort": self.cohort},
                    },
                },
            ],
            "components": [
                {
                    "id": "aggregation",
                    "path": "client_plugin.privacy.session.AggregationSession",
                    "args": self._aggregation(),
                },
                NVFLARE_TIMES,
            ],
            "task_data_filters": [],
            "task_result_filters": [],
        }

    def _schedule(self) -> Json:
        training = {**self.learning.get("training", {}), "rounds": self.federation.rounds}
        return {**self.learning, "training": training}

    def _aggregation(self) -> Json:
        """What server and sites must agree on: every site signs its own copy, and a difference ends the job."""
        return self.federation.model_dump(include={"encryption", "bits", "clip", "max_weight", "min_sites"})

    def write(self, parent: Path) -> Path:
        """Write the job below ``parent`` and return its folder, replacing an older one of the same name."""
        folder = parent / self.name
        if folder.exists():
            shutil.rmtree(folder)
        config = folder / "app" / "config"
        config.mkdir(parents=True)
        for path, value in (
            (folder / "meta.json", self.meta()),
            (config / "config_fed_server.json", self.server()),
            (config / "config_fed_client.json", self.client()),
        ):
            path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        return folder
