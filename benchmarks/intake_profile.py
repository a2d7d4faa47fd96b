"""Where the time of one received instance goes: ``python -m benchmarks.intake --profile``.

Two views. *Stages*: what a listener does with an instance once its bytes are there, one step after the other in this
process, alone. *Machine*: our listeners and pynetdicom's null handler under four associations, with the CPU time of
receiver, senders and kernel per instance; on a machine with few cores the senders compete with the receiver.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks import receivers
from client_plugin.archive.catalogue import Catalogue
from client_plugin.dicom.storing import fault
from client_plugin.intake.committer import as_received
from client_plugin.intake.spool import Origin, Spool

PIECE = 128 << 10
"""Bytes of a PDU that dcmtk sends."""


@dataclass
class Stages:
    """Wall and CPU milliseconds of each step, one entry an instance."""

    wall: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        self.wall.setdefault(step, []).append((time.perf_counter() - wall) * 1000)
        self.cpu.setdefault(step, []).append((time.thread_time() - cpu) * 1000)

    def rows(self) -> list[tuple[str, float, float]]:
        """Step, median wall ms, median CPU ms."""
        return [
            (step, round(statistics.median(self.wall[step]), 3), round(statistics.median(self.cpu[step]), 3))
            for step in self.wall
        ]


def stages(folder: Path, dataset: object, instances: int) -> Stages:
    """Take ``instances`` copies of a data set in, with a new UID each, and time the steps."""
    catalogue = Catalogue.open(f"sqlite:///{folder / 'catalogue.sqlite'}")
    spool = Spool(folder / "spool", bytes(32))
    spool.take_slot()
    found = Stages()
    for number in range(instances):
        dataset.SOPInstanceUID = f"1.2.3.{number}"  # type: ignore[attr-defined]
        data = _encoded(dataset)
        origin = Origin(str(dataset.SOPClassUID), f"1.2.3.{number}", ExplicitVRLittleEndian, "PACS")  # type: ignore[attr-defined]
        with found.timed("new file, key of the file"):
            incoming = spool.begin(origin)
        with found.timed("digest of the content"):
            for start in range(0, len(data), PIECE):
                incoming._digest.update(data[start : start + PIECE])
        with found.timed("collect, encrypt, write"):
            for start in range(0, len(data), PIECE):
                incoming._sealed.write(data[start : start + PIECE])
            incoming._sealed.finish()
        incoming._head += data[: 64 << 10]
        incoming._size = len(data)
        with found.timed("sync of the file"):
            os.fsync(incoming._file.fileno())
        spooled = incoming.finished()
        with found.timed("check of the names"):
            fault(origin, origin.sop_class_uid, spooled.head)
        with found.timed("rename, sync of the folder"):
            spool.publish([spooled.name])
            spool.sync()
        with found.timed("catalogue, one transaction"):
            catalogue.record_received([as_received(spooled, datetime.now(UTC))])
        spool.delete(spooled.name)
    catalogue.close()
    spool.close()
    return found


def _encoded(dataset: object) -> memoryview:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)  # type: ignore[arg-type]
    return memoryview(buffer.getvalue())


@dataclass(frozen=True)
class Load:
    """One receiver under four associations. CPU in milliseconds per instance; idle as a share of all cores."""

    receiver: str
    rate: float
    receiver_cpu: float
    senders_cpu: float
    idle: float


def machine(folder: Path, file: Path, instances: int) -> list[Load]:
    """Ours and the null handler, each alone with its senders."""
    from benchmarks.intake import send

    loads = []
    for make, name in ((receivers.ours, "ours"), (receivers.null_handler, "null")):
        with make(folder / name) as receiver:
            send(receiver, file, 2, 5)  # warm
            before, times = resource.getrusage(resource.RUSAGE_CHILDREN), psutil.cpu_times()
            run = send(receiver, file, 4, instances)
            after, later = resource.getrusage(resource.RUSAGE_CHILDREN), psutil.cpu_times()
            used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            idle = (later.idle + later.iowait - times.idle - times.iowait) / (sum(later) - sum(times))
            senders = used / (4 * instances) * 1000
            loads.append(
                Load(receiver.name, round(run.rate, 1), round(run.cpu_ms, 2), round(senders, 2), round(idle, 3))
            )
    return loads


def table(found: Stages, loads: list[Load]) -> str:
    """Both views for a terminal."""
    lines = [f"{'step of one instance, alone':<32}{'wall ms':>9}{'CPU ms':>9}"]
    lines += [f"{step:<32}{wall:>9.2f}{cpu:>9.2f}" for step, wall, cpu in found.rows()]
    walls, cpus = zip(*((wall, cpu) for _, wall, cpu in found.rows()), strict=True)
    lines.append(f"{'together':<32}{sum(walls):>9.2f}{sum(cpus):>9.2f}")
    lines += ["", f"{'4 associations':<32}{'per s':>9}{'CPU ms':>9}{'senders':>9}{'idle':>7}"]
    lines += [f"{a.receiver:<32}{a.rate:>9.0f}{a.receiver_cpu:>9.2f}{a.senders_cpu:>9.2f}{a.idle:>7.0%}" for a in loads]
    return "\n".join(lines)
