"""Writes an NVFlare job folder that holds configuration only (decision 1 of the design)."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Json = dict[str, Any]

# How often a site asks for its next task. NVFlare's 2 s would be most of the time of a short round.
TASK_REQUEST_SECONDS = 0.5

NVFLARE_TIMES: Json = {"id": "job_times", "path": "observability.nvflare_events.JobTimes", "args": {}}
"""NVFlare times a job's events (tasks, filters), and each participant's Prometheus gets to know."""

BATCH_NORM = (r"\bnorm\d*\.", r"\.N\.")
"""``keep_local`` for FedBN (Li et al., ICLR 2021): how MONAI's DenseNet and U-Net name what they normalise with."""


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
    rekey_rounds: int = Field(default=0, ge=0, description="New keys every so many rounds; 0: one set for the job")
    min_share: float = Field(
        default=0.0, ge=0, le=1, description="Least share of the data in a sum, of the largest sum of the job"
    )
    server_optimizer: Literal["fedavg", "fedavgm", "fedadam", "fedyogi"] = Field(
        default="fedavg", description="FedOpt, run where sums are opened: at the sites"
    )
    server_learning_rate: float = Field(default=1.0, gt=0, description="Of the server optimiser")
    full_weights: bool = Field(default=False, description="Send weights and take their mean, instead of differences")
    keep_local: tuple[str, ...] = Field(
        default=(), description="Regular expressions: tensors that stay at their hospital, as BATCH_NORM for FedBN"
    )

    @model_validator(mode="after")
    def _complete(self) -> Federation:
        if self.full_weights and (self.server_optimizer != "fedavg" or self.server_learning_rate != 1):
            raise ValueError("a server optimiser works on differences: leave full_weights off")
        return self


def merged(base: Json, over: Json) -> Json:
    """``over`` on top of ``base``, key by key at every depth.

    Examples
    --------
    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})
    {'a': {'b': 3, 'c': 2}}
    """
    both = {key: merged(base[key], over[key]) for key in base.keys() & over.keys() if isinstance(over[key], dict)}
    return {**base, **over, **both}


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
                        "rekey_rounds": fed.rekey_rounds,
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
                    "args": {**self._aggregation(), "keep_local": list(self.federation.keep_local)},
                },
                NVFLARE_TIMES,
            ],
            "task_data_filters": [],
            "task_result_filters": [],
        }

    def _schedule(self) -> Json:
        return merged(self.learning, {"training": {"rounds": self.federation.rounds}})

    def _aggregation(self) -> Json:
        """What server and sites must agree on: every site signs its own copy, and a difference ends the job."""
        fed = self.federation
        return {
            **fed.model_dump(
                include={"encryption", "bits", "clip", "max_weight", "min_sites", "min_share", "full_weights"}
            ),
            "server_optimizer": {"name": fed.server_optimizer, "learning_rate": fed.server_learning_rate},
        }

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
