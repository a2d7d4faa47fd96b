"""How many instances a second the workers archive: from the sealed spool, and while the listener receives."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from benchmarks import receivers
from benchmarks.intake import send
from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import SiteKeys
from client_plugin.config import NodeConfig
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.spool import Origin, Spool

ROOT = Path(__file__).parents[1]
WORK = Path(__file__).parent / ".work"
_PATIENCE = 300.0  # seconds


@dataclass(frozen=True)
class Rate:
    """Instances a second, and CPU milliseconds of the workers for each."""

    rate: float
    cpu_ms: float


def throughput(slice_of: Callable[[int], FileDataset], instances: int, workers: int) -> Rate:
    """Unseal, read, de-identify, write, seal, catalogue, delete the raw copy; measured from the first one archived.

    Parameters
    ----------
    slice_of
        Gives an instance of a series by its number.
    """
    WORK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:  # on a disk, not on a memory file system
        kit = Path(folder)
        (kit / "local").mkdir()
        (kit / "local" / "fedpacs.yaml").write_text("site: benchmark\n", encoding="utf-8")
        config = NodeConfig.load(kit)
        archive = Archive.open(config)
        _receive(config, archive, map(slice_of, range(instances)))
        command = [sys.executable, "-m", "client_plugin.intake.worker", "--kit", str(kit)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        running: list[subprocess.Popen[bytes]] = []
        try:
            for number in range(workers):
                running.append(subprocess.Popen([*command, "--name", f"worker-{number}"], env=environment))
            left, first_at = _wait(archive, instances, lambda left: left < instances)
            before = _cpu(running)
            _, last_at = _wait(archive, instances, lambda left: left == 0)
            used = _cpu(running) - before
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait()
            archive.close()
        return Rate(left / (last_at - first_at), used / left * 1000)


@dataclass(frozen=True)
class EndToEnd:
    """The whole intake under load.

    Parameters
    ----------
    received
        Instances a second that were answered with success, listeners and workers running.
    archived
        The same from the first C-STORE to the last one archived.
    listener
        What the listeners answer on this machine, in this run, without workers.
    """

    received: float
    archived: float
    listener: float


def end_to_end(file: Path, instances: int, workers: int, associations: int = 4) -> EndToEnd:
    """dcmtk's storescu sends over ``associations`` associations at once; workers archive meanwhile."""
    WORK.mkdir(exist_ok=True)
    each = instances // associations
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        with receivers.ours(Path(folder) / "listener") as receiver:
            send(receiver, file, associations, 5)  # warm
            alone = send(receiver, file, associations, each)
        with receivers.node(Path(folder) / "node", workers) as (receiver, archive):
            send(receiver, file, associations, 5)
            _wait(archive, instances, lambda left: left == 0)
            started = time.perf_counter()
            run = send(receiver, file, associations, each)
            _, last_at = _wait(archive, instances, lambda left: left == 0)
            archived = archive.catalogue.counts()["instances"]
    if archived != associations * (5 + each):
        raise RuntimeError(f"{archived} instances are archived, {associations * (5 + each)} were sent")
    return EndToEnd(run.rate, each * associations / (last_at - started), alone.rate)


def _receive(config: NodeConfig, archive: Archive, instances: Iterable[FileDataset]) -> None:
    """Put instances into the spool, as a listener does, without the network."""
    spool = Spool(config.spool, SiteKeys.open(config).derive("spool"))
    spool.take_slot()
    committer = GroupCommitter(spool, archive.catalogue)
    for ds in instances:
        syntax = ds.file_meta.TransferSyntaxUID
        buffer = DicomBytesIO()
        buffer.is_implicit_VR, buffer.is_little_endian = syntax.is_implicit_VR, syntax.is_little_endian
        write_dataset(buffer, ds)
        incoming = spool.begin(Origin(ds.SOPClassUID, ds.SOPInstanceUID, syntax, "PACS"))
        incoming.write(buffer.getvalue())
        committer.commit(incoming.finish())
    spool.close()


def _cpu(running: list[subprocess.Popen[bytes]]) -> float:
    """CPU seconds that the processes have used."""
    times = [psutil.Process(process.pid).cpu_times() for process in running]
    return float(sum(each.user + each.system for each in times))


def _wait(archive: Archive, instances: int, done: Callable[[int], bool]) -> tuple[int, float]:
    deadline = time.perf_counter() + _PATIENCE
    while time.perf_counter() < deadline:
        left, _ = archive.catalogue.backlog()
        if done(left):
            return left, time.perf_counter()
        time.sleep(0.05)
    raise TimeoutError(f"{instances} instances were not archived within {_PATIENCE:.0f} s: see the workers' logs")
