"""A federation on one machine: provisioned kits, started from their own scripts, spoken to by the FLARE admin API."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nvflare.fuel.flare_api.api_spec import NoConnection, TargetType
from nvflare.fuel.flare_api.flare_api import Session, new_secure_session

from client_plugin.config import NodeConfig
from client_plugin.node import read_state
from demo import processes
from demo.workspace import DemoError, Workspace
from provisioning.provision import provision
from server_config.monitoring.stack import ALERTMANAGER, PROMETHEUS, free_ports

SERVER = "fedpacs-server"
ADMIN = "lead@consortium.example"
START_SECONDS = 120.0
STOP_SECONDS = 30.0
SIGNAL_SECONDS = 10.0
# The check forks while gRPC's threads run, and its child now and then dies of that before Python starts.
PREFLIGHT_TRIES = 3
DESCRIPTION = "federation.json"


@dataclass(frozen=True)
class Hospital:
    """One hospital of the demo: its names, and the ports its node gets."""

    site: str
    ae_title: str
    pacs_ae_title: str
    dicom_port: int
    metrics_port: int
    status_port: int

    @property
    def status_url(self) -> str:
        """The node's page for people."""
        return f"http://127.0.0.1:{self.status_port}/"

    def node(self, policy: dict[str, Any], monitoring: dict[str, str]) -> dict[str, Any]:
        """The hospital's ``fedpacs.yaml``: its PACS may send from this machine, and a study is soon complete."""
        return {
            "storage": "node",
            "dicom": {
                "ae_title": self.ae_title,
                "host": "127.0.0.1",
                "port": self.dicom_port,
                "peers": [{"ae_title": self.pacs_ae_title, "addresses": ["127.0.0.1/32"]}],
            },
            "intake": {"quiet_seconds": 3, "min_free_bytes": 200_000_000},
            "governance": policy,
            "metrics": {"port": self.metrics_port},
            "status_page": {"port": self.status_port, **monitoring},
        }


def hospitals(letters: str) -> list[Hospital]:
    """Hospitals named by letters ("abc"), on free ports."""
    ports = free_ports(3 * len(letters))
    return [
        Hospital(f"hospital-{x}", f"FEDPACS_{x.upper()}", f"PACS_{x.upper()}", *ports[3 * i : 3 * i + 3])
        for i, x in enumerate(letters)
    ]


@dataclass
class Federation:
    """Kits and processes of one run.

    Attributes
    ----------
    monitoring_ports
        Of Prometheus and Alertmanager; None: the run has neither.
    """

    workspace: Workspace
    hospitals: Sequence[Hospital]
    server_port: int
    metrics_port: int
    monitoring_ports: tuple[int, int] | None = None
    kits: dict[str, Path] = field(default_factory=dict)

    @classmethod
    def create(cls, workspace: Workspace, sites: Sequence[Hospital], *, monitor: bool = False) -> Federation:
        """A federation that is not provisioned yet; ``monitor``: Prometheus and Alertmanager will watch it."""
        server_port, metrics_port, prometheus, alertmanager = free_ports(4)
        return cls(workspace, sites, server_port, metrics_port, (prometheus, alertmanager) if monitor else None)

    def provision(self, policy: dict[str, Any]) -> None:
        """Make the kits; every hospital gets the same ``governance`` section."""
        kits = provision(self._project(policy), self.workspace.run / "kits")
        self.kits = {name: path.resolve() for name, path in kits.items()}
        self._remember()

    def _project(self, policy: dict[str, Any]) -> dict[str, Any]:
        storage = str(self.workspace.run / "server-storage")
        monitoring = {
            name: f"http://127.0.0.1:{port}"
            for name, port in zip(("prometheus", "alertmanager"), self.monitoring_ports or (), strict=False)
        }
        return {
            "api_version": 3,
            "name": "fedpacs_demo",
            "description": "The fedpacs demo",
            "participants": [
                {
                    "name": SERVER,
                    "type": "server",
                    "org": "consortium",
                    "default_host": "localhost",
                    "host_names": ["localhost", "127.0.0.1"],
                    "fed_learn_port": self.server_port,
                    "storage": storage,
                    "metrics": {"host": "127.0.0.1", "port": self.metrics_port},
                },
                *(
                    {
                        "name": h.site,
                        "type": "client",
                        "org": h.site.replace("-", "_"),
                        "node": h.node(policy, monitoring),
                    }
                    for h in self.hospitals
                ),
                {"name": ADMIN, "type": "admin", "org": "consortium", "role": "project_admin"},
            ],
            "builders": [
                {
                    "path": "nvflare.lighter.impl.workspace.WorkspaceBuilder",
                    "args": {"template_file": ["master_template.yml"]},
                },
                {
                    "path": "nvflare.lighter.impl.static_file.StaticFileBuilder",
                    "args": {"config_folder": "config", "scheme": "grpc", "require_signed_jobs": True},
                },
                {"path": "nvflare.lighter.impl.cert.CertBuilder", "args": {}},
                {"path": "provisioning.builders.FedpacsBuilder", "args": {}},
                {"path": "nvflare.lighter.impl.signature.SignatureBuilder", "args": {}},
            ],
        }

    @property
    def environment(self) -> dict[str, str]:
        """Of every process: this interpreter first on the PATH, its temporary files in the run's folder."""
        return processes.environment(
            self.workspace.run_id,
            {
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
                "TMPDIR": str(self.workspace.temporary),
                # The hospitals share this machine's cores; at a real one, training has them all.
                "OMP_NUM_THREADS": "1",
            },
        )

    def start(self, names: Sequence[str]) -> None:
        """Run the ``start.sh`` of the kits named."""
        for name in names:
            log = (self.workspace.logs / f"{name}.log").open("ab")
            with log:
                subprocess.run(
                    [self.kits[name] / "startup" / "start.sh"],
                    env=self.environment,
                    cwd=self.kits[name],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C is ours to handle: the federation is stopped in order
                    check=True,
                )

    def preflight(self, name: str) -> None:
        """NVFlare's own check of a kit. It starts the participant for a few seconds.

        Raises
        ------
        DemoError
            The check did not pass; its report is in the run's logs.
        """
        log = self.workspace.logs / f"preflight-{name}.log"
        nvflare = shutil.which("nvflare", path=self.environment["PATH"]) or "nvflare"
        for _ in range(PREFLIGHT_TRIES):
            with log.open("ab") as file:
                done = subprocess.run(
                    [nvflare, "preflight-check", "-p", self.kits[name]],
                    env=self.environment,
                    cwd=self.workspace.temporary,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    check=False,
                )
            if done.returncode == 0:
                return
        raise DemoError(f"the kit of {name} did not pass NVFlare's preflight-check: see {log}")

    def wait_for_server(self) -> None:
        """Until the server's port answers."""
        self._wait("the server", lambda: _answers(self.server_port))

    def wait_for_nodes(self) -> None:
        """Until every hospital's node runs.

        Raises
        ------
        DemoError
            A node refused to start, with its own words; or the time is over.
        """
        for hospital in self.hospitals:
            self._wait(f"the node of {hospital.site}", lambda site=hospital.site: self._node_runs(site))  # type: ignore[misc]

    def _node_runs(self, site: str) -> bool:
        state = read_state(NodeConfig.load(self.kits[site]))
        if state and state.state == "failed":
            raise DemoError(f"{site}: {state.detail}")
        return bool(state and state.state == "running")

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not ready():
            if not processes.is_running(self.workspace.run_id):
                raise DemoError(f"{what} ended while it started: see {self.workspace.logs}")
            if time.monotonic() > deadline:
                raise DemoError(f"{what} did not come up in {START_SECONDS:.0f} s: see {self.workspace.logs}")
            time.sleep(0.3)

    def session(self) -> Session:
        """Log in as the consortium's lead.

        Raises
        ------
        DemoError
            The server does not take us.
        """
        try:
            return self._log_in(timeout=30.0)
        except NoConnection as error:
            raise DemoError(f"the admin cannot log in ({error}): see {self.workspace.logs}") from None

    def _log_in(self, **options: Any) -> Session:
        with redirect_stdout(io.StringIO()):  # NVFlare says "Connecting to FLARE ..." each time
            return new_secure_session(ADMIN, str(self.kits[ADMIN]), **options)

    def stop(self) -> None:
        """Shut everything of this run down, in order if it still listens, and by signals what is left."""
        if not processes.is_running(self.workspace.run_id):
            return
        # NVFlare's shutdown does not reach these, and waiting for them would use up the federation's time to stop.
        processes.stop_programs(self.workspace.run_id, (*PROMETHEUS, *ALERTMANAGER))
        with suppress(Exception):  # whatever is wrong with it, the signals below end it
            self._ask_to_shut_down()
            self._wait_until_gone(STOP_SECONDS)
        processes.stop(self.workspace.run_id, patience=SIGNAL_SECONDS)

    def _ask_to_shut_down(self) -> None:
        session = self._log_in(timeout=3.0, auto_login_max_tries=1)
        try:
            session.shutdown(TargetType.ALL, wait=False)
        finally:
            session.close()  # its threads would keep this process from ending

    def _wait_until_gone(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and processes.is_running(self.workspace.run_id):
            time.sleep(0.5)

    def _remember(self) -> None:
        """Leave what ``make demo-stop`` needs."""
        text = json.dumps({name: str(path) for name, path in self.kits.items()}, indent=2)
        (self.workspace.run / DESCRIPTION).write_text(text)

    @classmethod
    def recall(cls, workspace: Workspace) -> Federation:
        """The federation of an earlier run, to stop it."""
        kits = json.loads((workspace.run / DESCRIPTION).read_text())
        return cls(workspace, [], 0, 0, kits={name: Path(path) for name, path in kits.items()})


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False
