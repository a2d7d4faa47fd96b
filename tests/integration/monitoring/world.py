"""A real node, real senders, a real Prometheus and Alertmanager: what the monitoring tests act in."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from server_config.monitoring.stack import RULES, Monitoring, Target, free_ports, start_monitoring

ROOT = Path(__file__).parents[3]
PLANTED = ("ZUCKERBERGER", "HANNELORE", "PLANTED-MRN-4711", "PLANTED-ACC-0815", "19370411")
"""Identifiers of the patients that the tests send; none may appear in a metric or a log."""


def write_kit(folder: Path, *, certificate_days: int = 365, **settings: Any) -> Path:
    """A hospital's kit as far as the node needs it: its configuration and a client certificate."""
    (folder / "local").mkdir(parents=True)
    (folder / "startup").mkdir()
    ports = free_ports(4)
    config: dict[str, Any] = {
        "site": "site-a",
        "dicom": {
            "host": "127.0.0.1",
            "port": ports[0],
            "peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1/32"], "host": "127.0.0.1", "port": ports[2]}],
        },
        "metrics": {"port": ports[1], "echo_seconds": 1, "facts_seconds": 1},
        "status_page": {"port": ports[3]},
        "intake": {"quiet_seconds": 2, "min_free_bytes": 1 << 20},
    }
    for section, values in settings.items():
        config[section] = {**config.get(section, {}), **values} if isinstance(values, dict) else values
    (folder / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(config))
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site-a")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now - timedelta(days=1))
    certificate = builder.not_valid_after(now + timedelta(days=certificate_days)).sign(key, hashes.SHA256())
    (folder / "startup" / "client.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    return folder


class Node:
    """A hospital's node as a process of its own: listeners, workers, archive and endpoint."""

    def __init__(self, kit: Path) -> None:
        self.kit = kit
        config = yaml.safe_load((kit / "local" / "fedpacs.yaml").read_text())
        self.metrics_port: int = config["metrics"]["port"]
        self.dicom_port: int = config["dicom"]["port"]
        self.status_port: int = config["status_page"]["port"]
        self.pacs_port: int = config["dicom"]["peers"][0]["port"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.monitoring.node_process", str(kit)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def target(self) -> Target:
        return Target(f"127.0.0.1:{self.metrics_port}", "site-a")

    def scrape(self, accept: str = "text/plain") -> str:
        request = urllib.request.Request(f"http://{self.target.address}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return str(answer.read().decode())

    def value(self, series: str) -> float | None:
        """The value of one series, written as in the text format."""
        match = re.search(rf"^{re.escape(series)} (\S+)$", self.scrape(), re.MULTILINE)
        return float(match[1]) if match else None

    def page(self) -> str:
        """The status page's text."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.status_port}/", timeout=10) as answer:
            return str(answer.read().decode())

    def send(self, files: list[Path], *, expect: int = 0) -> None:
        """C-STORE by dcmtk's storescu, as the PACS would."""
        result = subprocess.run(
            ["storescu", "-R", "-aet", "PACS", "-aec", "FEDPACS", "127.0.0.1", str(self.dicom_port), *map(str, files)],
            env={**os.environ, "TCP_NODELAY": "1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert result.returncode == expect, result.stderr

    def children(self, module: str) -> list[int]:
        """Process ids of the node's children that run ``module``."""
        listed = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=True
        )
        return [int(line.split()[0]) for line in listed.stdout.splitlines() if module in line]

    def stop(self) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@contextlib.contextmanager
def pacs(node: Node, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """dcmtk's archive at the address where the node calls its PACS."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "dcmqrscp.cfg"
    config.write_text(
        f"NetworkTCPPort = {node.pacs_port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        "HostTable BEGIN\nHostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\nPACS {folder} RW (9, 1024mb) ANY\nAETable END\n"
    )
    process = subprocess.Popen(["dcmqrscp", "-c", str(config)], stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"


def planted_pdf(folder: Path, count: int) -> list[Path]:
    """Objects that no de-identifier can vouch for: the node sets them aside (unsupported-content)."""
    return planted_ct(folder, count, SOPClassUID=ENCAPSULATED_PDF, Modality="DOC")


def planted_ct(folder: Path, count: int, **changes: Any) -> list[Path]:
    """CT instances of one new study, with the planted identifiers in the usual places."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.BodyPartExamined = "CHEST"
    dataset.PatientName = "ZUCKERBERGER^HANNELORE"
    dataset.PatientID = "PLANTED-MRN-4711"
    dataset.PatientBirthDate = "19370411"
    dataset.AccessionNumber = "PLANTED-ACC-0815"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    files = []
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number + 1
        files.append(folder / f"{number}.dcm")
        dataset.save_as(files[-1])
    return files


class OnCall:
    """The person on call: a webhook that remembers what Alertmanager sent."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        told = self.alerts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.extend(json.loads(body)["alerts"])
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/"

    def told(self, name: str, status: str = "firing") -> list[dict[str, Any]]:
        return [a for a in list(self.alerts) if a["labels"]["alertname"] == name and a["status"] == status]

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def faster_rules(folder: Path, factor: int = 60) -> list[Path]:
    """The shipped rules with every duration divided: minutes become seconds, expressions and thresholds stay."""

    def shorter(match: re.Match[str]) -> str:
        seconds = {"m": 60, "h": 3600, "d": 86400}[match[3]] * int(match[2]) / factor
        return f"{match[1]}{max(2, round(seconds))}s"

    files = []
    for rules in RULES:
        text = rules.read_text()
        text = re.sub(r"((?:for|keep_firing_for): )(\d+)([mhd])\b", shorter, text)
        text = re.sub(r"(\[)(\d+)([mhd])(?=\])", shorter, text).replace("interval: 15s", "interval: 1s")
        files.append(folder / rules.name)
        files[-1].write_text(text)
    return files


@contextlib.contextmanager
def watching(
    folder: Path, targets: list[Target], webhook: str, *, fast: bool = True, ports: tuple[int, int] | None = None
) -> Iterator[Monitoring]:
    """Prometheus and Alertmanager that scrape every second."""
    folder.mkdir(parents=True, exist_ok=True)
    rules = faster_rules(folder) if fast else list(RULES)
    monitoring = start_monitoring(folder, targets, interval="1s", webhook=webhook, rules=rules, ports=ports)
    try:
        yield monitoring
    finally:
        monitoring.stop()


def query(monitoring: Monitoring, expression: str) -> list[dict[str, Any]]:
    """An instant query's result."""
    url = f"{monitoring.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
        result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
    return result


def until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Wait for a true value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if result := condition():
            return result
        time.sleep(0.25)
    raise AssertionError(f"waited {seconds:.0f} s in vain for {what}")
