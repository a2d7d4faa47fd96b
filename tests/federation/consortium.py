"""A provisioned consortium of real NVFlare processes, for tests: kits, ports of its own, start, submit, stop."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.signature import SignatureBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner

from provisioning import policies

ROOT = Path(__file__).parents[2]
ADMIN = "lead@consortium.example"
CLIENT_CLASSES = [
    "client_plugin.privacy.ceremony.CeremonyExecutor",
    "client_plugin.privacy.session.AggregationSession",
    "tests.federation.",
]

KEEPER = {"id": "job_keeper", "path": "client_plugin.privacy.keeper.JobKeeper", "args": {}}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def log_in(admin: str, kit: Path, hospitals: int) -> Session:
    """The admin's session, once so many hospitals have registered."""
    session: Session = new_secure_session(admin, str(kit), timeout=60.0)
    deadline = time.monotonic() + 60
    while (registered := len(session.get_system_info().client_info)) < hospitals:
        assert time.monotonic() < deadline, f"{registered} of {hospitals} clients have registered"
        time.sleep(0.5)
    return session


@dataclass
class Consortium:
    """Kits below ``folder`` and the processes started from them."""

    folder: Path
    sites: tuple[str, ...]
    governance: dict[str, Any] = field(
        default_factory=lambda: {"min_sites": 2, "share_metrics": ["loss"], "encryption": ["he+masks", "he", "masks"]}
    )
    client_classes: list[str] = field(default_factory=lambda: [*CLIENT_CLASSES])
    server_classes: list[str] = field(default_factory=lambda: ["server_config.", "tests.federation."])
    server_components: list[dict[str, Any]] = field(default_factory=list)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    session: Session | None = None

    def provision(self) -> None:
        project = Project("consortium", "test", props={"api_version": 3, "name": "consortium"})
        port = free_port()
        project.set_server("localhost", "consortium", {"fed_learn_port": port, "admin_port": port})
        for site in self.sites:
            project.add_client(site, "hospitals", {})
        project.add_admin(ADMIN, "consortium", {"role": "project_admin"})
        Provisioner(
            str(self.folder),
            [
                WorkspaceBuilder(template_file=["master_template.yml"]),
                StaticFileBuilder(config_folder="config", scheme="grpc"),
                CertBuilder(),
                SignatureBuilder(),
            ],
        ).provision(project)
        for site in self.sites:
            local = self.kit(site) / "local"
            self._resources(local, self.client_classes, [KEEPER])
            (local / "privacy.json").write_text(json.dumps(policies.privacy()))
            (local / "fedpacs.yaml").write_text(yaml.safe_dump({"site": site, "governance": self.governance}))
        self._resources(self.kit("localhost") / "local", self.server_classes, self.server_components)

    def kit(self, participant: str) -> Path:
        return self.folder / "consortium" / "prod_00" / participant

    def _resources(self, local: Path, classes: list[str], components: Sequence[dict[str, Any]] = ()) -> None:
        text = (local / "resources.json.default").read_text().replace("/tmp/nvflare", str(self.folder))
        resources = json.loads(text)
        resources["class_allow_list"] = classes
        resources["allow_log_streaming"] = False
        resources["components"] += components
        (local / "resources.json").write_text(json.dumps(resources))

    def start(self) -> None:
        for participant in ("localhost", *self.sites):
            self.start_one(participant)
        self.connect()

    def connect(self) -> None:
        """Log in as the consortium's lead and wait for all hospitals."""
        self.session = log_in(ADMIN, self.kit(ADMIN), hospitals=len(self.sites))

    def start_one(self, participant: str) -> None:
        kit = self.kit(participant)
        server = participant == "localhost"
        module = (
            "nvflare.private.fed.app.server.server_train" if server else "nvflare.private.fed.app.client.client_train"
        )
        config = ["-s", "fed_server.json"] if server else ["-s", "fed_client.json"]
        settings = ["--set", "secure_train=true", "config_folder=config"]
        settings += [] if server else [f"uid={participant}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        log = (self.folder / f"{participant}.log").open("ab")
        self.processes[participant] = subprocess.Popen(
            [sys.executable, "-u", "-m", module, "-m", str(kit), *config, *settings],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            cwd=kit,
        )

    def job_process(self, participant: str, job: str) -> psutil.Process:
        """The process in which a participant runs a job."""
        kit = str(self.kit(participant))
        (found,) = [
            process for process in psutil.process_iter(["cmdline"]) if {kit, job} <= set(process.info["cmdline"] or ())
        ]
        return found

    def kill_server(self, job: str) -> None:
        """As a power cut does: the server and its job process, without a word."""
        assert self.session is not None
        self.session.close()
        running = self.job_process("localhost", job)
        self.processes["localhost"].kill()
        running.kill()
        self.processes["localhost"].wait(15)

    def stop(self) -> None:
        if self.session is not None:
            self.session.close()
        for process in self.processes.values():
            os.killpg(process.pid, signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(15)

    def submit(self, server: dict[str, Any], client: dict[str, Any], name: str = "sum") -> str:
        """Submit a job; the answer is its id."""
        job = self.folder / f"job-{name}-{time.monotonic_ns()}"
        config = job / "app" / "config"
        config.mkdir(parents=True)
        (job / "meta.json").write_text(
            json.dumps({"name": name, "resource_spec": {}, "min_clients": 1, "deploy_map": {"app": ["@ALL"]}})
        )
        (config / "config_fed_server.json").write_text(json.dumps(server))
        (config / "config_fed_client.json").write_text(json.dumps(client))
        assert self.session is not None
        return str(self.session.submit_job(str(job)))

    def wait(self, job: str, timeout: float = 180.0) -> str:
        """Wait for the job's end; the answer is its status."""
        assert self.session is not None
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            status = str(self.session.get_job_meta(job)["status"])
            if status.startswith("FINISHED"):
                return status
            time.sleep(0.5)
        raise TimeoutError(f"job {job} has not ended")

    def wait_for_round(self, job: str, number: int, timeout: float = 120.0) -> None:
        """Wait until the server's journal says that this round, counted from 1, has begun."""
        path = self.kit("localhost") / job / "rounds.json"
        deadline = time.monotonic() + timeout
        while not path.exists() or json.loads(path.read_text())["round"] < number:
            assert time.monotonic() < deadline, f"round {number} of job {job} has not begun"
            time.sleep(0.1)

    def log(self, participant: str) -> str:
        return (self.folder / f"{participant}.log").read_text(errors="replace")
