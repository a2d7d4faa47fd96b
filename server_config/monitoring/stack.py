"""Starts Prometheus and Alertmanager, when they are installed, with the rules and alerts of this folder.

For the demo, for tests, and for a look at one node; a hospital runs its own Prometheus with the files beside.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RULES = (HERE / "prometheus" / "recording.yml", HERE / "prometheus" / "alerts.yml")
PROMETHEUS = ("prometheus",)
ALERTMANAGER = ("prometheus-alertmanager", "alertmanager")  # Debian's name, upstream's name
READY_SECONDS = 20.0


class MonitoringError(RuntimeError):
    """Prometheus or Alertmanager cannot be started; the message names the cause and the cure."""


@dataclass(frozen=True)
class Target:
    """An endpoint to scrape.

    Parameters
    ----------
    address
        ``host:port``.
    site
        Name in the NVFlare project; ``None`` for the server.
    """

    address: str
    site: str | None = None

    @property
    def job(self) -> str:
        return "fedpacs-node" if self.site else "fedpacs-server"


@dataclass
class Monitoring:
    """Two running processes; :meth:`stop` ends them and nothing else."""

    prometheus: str
    """Address of its web page and API."""
    alertmanager: str
    processes: list[subprocess.Popen[bytes]] = field(repr=False)

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self.processes]

    def stop(self) -> None:
        """Ask both to end, and wait."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start_monitoring(
    workspace: Path,
    targets: Sequence[Target],
    *,
    interval: str = "5s",
    webhook: str | None = None,
    rules: Sequence[Path] = RULES,
    ports: tuple[int, int] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Monitoring:
    """Start both on the loopback interface and wait until they answer.

    Parameters
    ----------
    workspace
        Folder for configuration, data and logs; made when missing.
    targets
        Nodes and server.
    interval
        How often to scrape and to evaluate the rules.
    webhook
        URL that gets the alerts; without it they are shown on Alertmanager's page only.
    rules
        Rule files; ours by default.
    ports
        Of Prometheus and Alertmanager; free ones by default.
    environment
        Of both processes; this process's own by default.

    Raises
    ------
    MonitoringError
        One is not installed, or does not come up.
    """
    prometheus, alertmanager = find(PROMETHEUS), find(ALERTMANAGER)
    workspace.mkdir(parents=True, exist_ok=True)
    own, alerts = ports or free_ports(2)
    addresses = {"prometheus": f"127.0.0.1:{own}", "alertmanager": f"127.0.0.1:{alerts}"}
    _write(workspace / "prometheus.yml", prometheus_config(targets, addresses["alertmanager"], interval, rules))
    _write(workspace / "alertmanager.yml", alertmanager_config(webhook))
    commands = {
        "alertmanager": [
            alertmanager,
            f"--config.file={workspace / 'alertmanager.yml'}",
            f"--storage.path={workspace / 'alertmanager'}",
            f"--web.listen-address={addresses['alertmanager']}",
            "--cluster.listen-address=",
        ],
        "prometheus": [
            prometheus,
            f"--config.file={workspace / 'prometheus.yml'}",
            f"--storage.tsdb.path={workspace / 'prometheus'}",
            f"--web.listen-address={addresses['prometheus']}",
            "--storage.tsdb.retention.time=7d",
            "--enable-feature=exemplar-storage",
        ],
    }
    running = Monitoring(f"http://{addresses['prometheus']}", f"http://{addresses['alertmanager']}", [])
    try:
        for name, command in commands.items():
            log = workspace / f"{name}.log"
            with log.open("wb") as output:
                process = subprocess.Popen(
                    command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
                )
            running.processes.append(process)
            _await(name, f"http://{addresses[name]}/-/ready", process, log)
    except BaseException:
        running.stop()
        raise
    return running


def find(names: Sequence[str]) -> str:
    """The first of ``names`` that is installed."""
    for name in names:
        path = shutil.which(name)
        if path:
            return path
    raise MonitoringError(
        f"{names[0]} is not installed: apt-get install prometheus prometheus-alertmanager, or leave MONITOR out"
    )


def prometheus_config(
    targets: Sequence[Target], alertmanager: str, interval: str, rules: Sequence[Path] = RULES
) -> dict[str, Any]:
    """The hospital's ``prometheus.yml`` with these targets, one job for the nodes and one for the server."""
    jobs: dict[str, list[dict[str, Any]]] = {}
    for target in targets:
        labels: Mapping[str, str] = {"site": target.site} if target.site else {}
        jobs.setdefault(target.job, []).append({"targets": [target.address], "labels": dict(labels)})
    return {
        "global": {"scrape_interval": interval, "evaluation_interval": interval},
        "rule_files": [str(file.resolve()) for file in rules],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": job, "sample_limit": 4000, "static_configs": entries} for job, entries in jobs.items()
        ],
    }


def alertmanager_config(webhook: str | None) -> dict[str, Any]:
    """Our routes, groups and inhibitions, sent to one webhook or to nobody."""
    config: dict[str, Any] = yaml.safe_load((HERE / "alertmanager" / "alertmanager.yml").read_text(encoding="utf-8"))
    hooks = [{"url": webhook, "send_resolved": True}] if webhook else []
    config["receivers"] = [{"name": each["name"], "webhook_configs": hooks} for each in config["receivers"]]
    for route in (config["route"], *config["route"]["routes"]):
        route["group_wait"] = "1s"
    config["route"]["group_interval"] = "5s"
    return config


def free_ports(count: int) -> list[int]:
    """Ports of the loopback interface that nobody listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _write(path: Path, config: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def _await(name: str, url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=1):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise MonitoringError(f"{name} did not come up: its reason is at the end of {log}")
