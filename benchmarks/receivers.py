"""The C-STORE receivers that the intake is compared with, each as processes of its own on a free port."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from client_plugin.archive.archive import Archive
from client_plugin.config import NodeConfig
from client_plugin.intake.process import spawn
from client_plugin.intake.service import Intake

NAGLE_OFF = {**os.environ, "TCP_NODELAY": "1"}  # for every process that is built on dcmtk
NULL_HANDLER = """
import sys
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, StoragePresentationContexts, evt
entity = AE("NULL")
entity.maximum_pdu_size = 0
for context in StoragePresentationContexts:
    entity.add_supported_context(context.abstract_syntax, ALL_TRANSFER_SYNTAXES)
entity.start_server(("127.0.0.1", int(sys.argv[1])), evt_handlers=[(evt.EVT_C_STORE, lambda event: 0)])
"""


def storescu() -> str:
    """dcmtk's, not the one of pynetdicom, which an activated virtual environment puts before it."""
    others = [folder for folder in os.get_exec_path() if Path(folder) != Path(sys.prefix) / "bin"]
    found = shutil.which("storescu", path=os.pathsep.join(others))
    if found is None:
        raise SystemExit("dcmtk's storescu is not installed: `make peers` does it (as root)")
    return found


@dataclass
class Receiver:
    """A running receiver.

    Parameters
    ----------
    name
        For the table.
    port
        Where it listens, on the loopback.
    processes
        What it consists of, for CPU time and memory.
    """

    name: str
    port: int
    processes: list[psutil.Process] = field(default_factory=list)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes so far."""
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    def resident_bytes(self) -> int:
        """Resident memory of all its processes."""
        return sum(process.memory_info().rss for process in self.processes)

    def peak_bytes(self) -> int:
        """The most that each of its processes ever had resident, added up."""
        peaks = [_status(process.pid)["VmHWM"] for process in self.processes]
        return sum(int(peak.split()[0]) * 1024 for peak in peaks)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def ours(folder: Path, listeners: int = 2, *, switched: Path | None = None) -> Iterator[Receiver]:
    """Our listener processes on one socket, as `client_plugin.intake.service.Intake` starts them; no workers.

    ``switched``: where they answer when their instruments are switched off and on (`benchmarks.switched`).
    """
    port = free_port()
    config = {
        "site": "bench",
        "dicom": {"host": "127.0.0.1", "port": port, "peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1"]}]},
    }
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(config))
    Archive.open(NodeConfig.load(folder)).close()
    listening = socket.create_server(("127.0.0.1", port), backlog=128)
    options = ["--kit", str(folder), "--listening", str(listening.fileno())]
    module = "client_plugin.dicom.listener"
    if switched is not None:
        module, options = "benchmarks.switched", [str(switched), module, *options]
    children = [spawn(module, f"listener-{n}", options, [listening.fileno()]) for n in range(listeners)]
    try:
        if not all(child.wait_ready(60) for child in children):
            raise RuntimeError("our listener did not come up")
        yield Receiver("fedpacs", port, [psutil.Process(child.process.pid) for child in children])
    finally:
        listening.close()
        for child in children:
            child.terminate()
        for child in children:
            child.wait(20)


@contextmanager
def node(folder: Path, workers: int) -> Iterator[tuple[Receiver, Archive]]:
    """Our whole intake, listeners and workers, as a hospital runs it; with its archive, to look into."""
    port = free_port()
    config = {
        "site": "bench",
        "dicom": {"host": "127.0.0.1", "port": port, "peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1"]}]},
        "intake": {"workers": workers},
    }
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(config))
    loaded = NodeConfig.load(folder)
    intake = Intake(loaded)
    intake.start()
    archive = Archive.open(loaded)
    try:
        yield Receiver("fedpacs", port, psutil.Process().children()), archive
    finally:
        archive.close()
        intake.stop()


@contextmanager
def orthanc(folder: Path) -> Iterator[Receiver]:
    """Orthanc with its default storage and index."""
    port = free_port()
    folder.mkdir(parents=True)
    settings = {
        "Name": "BENCH",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "HttpServerEnabled": False,
        "DicomPort": port,
        "DicomAet": "ORTHANC",
        "DicomCheckCalledAet": False,
        "Plugins": [],
    }
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with _process(["Orthanc", str(folder / "orthanc.json")], "Orthanc", port, folder) as receiver:
        yield receiver


@contextmanager
def storescp(folder: Path) -> Iterator[Receiver]:
    """pynetdicom's own storescp with its defaults."""
    port = free_port()
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "pynetdicom", "storescp", str(port), "-od", str(folder), "-q"]
    with _process(command, "pynetdicom storescp", port, folder) as receiver:
        yield receiver


@contextmanager
def null_handler(folder: Path) -> Iterator[Receiver]:
    """pynetdicom in one process with a handler that does nothing: what its protocol code can do at most."""
    port = free_port()
    folder.mkdir(parents=True)
    with _process([sys.executable, "-c", NULL_HANDLER, str(port)], "pynetdicom null handler", port, folder) as receiver:
        yield receiver


@contextmanager
def _process(command: list[str], name: str, port: int, folder: Path) -> Iterator[Receiver]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=NAGLE_OFF, start_new_session=True)
    try:
        _wait_for_port(port, process)
        yield Receiver(name, port, [psutil.Process(process.pid)])
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value for name, _, value in (line.partition(":") for line in lines)}


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not listen on port {port}: is the package installed?")
