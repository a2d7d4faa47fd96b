"""How fast instances are taken in, against Orthanc and pynetdicom: ``python -m benchmarks.intake [--quick]``.

Each receiver runs in its own processes; dcmtk's ``storescu`` sends the same 512×512×16 bit CT with new SOP Instance
UIDs over the loopback, over one association and over four at once. The receivers take turns, several times, and
medians are compared, so that the machine's other business hits all of them. Ours answers when an instance is sealed,
synced and catalogued; the peers promise less. Figures of made-up images: throughput only.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedCTImageStorage

from benchmarks import intake_profile, receivers, results
from benchmarks.receivers import NAGLE_OFF, Receiver

WORK = Path(__file__).parent / ".work"
REQUIRED = {  # ratio of rates, ours to theirs, at 1 and 4 associations
    "Orthanc": (1.0, 1.1),
    "pynetdicom storescp": (1.1, 2.0),
    "pynetdicom null handler": (0.6, 0.9),
}
CPU_REQUIRED = 1.2
"""CPU per instance, ours to Orthanc's."""
MEMORY_INSTANCES = 10_000


@dataclass(frozen=True)
class Run:
    """One turn of one receiver: instances per second, and CPU milliseconds per instance."""

    rate: float
    cpu_ms: float


def image() -> Dataset:
    """A CT image of 512×512 pixels of 16 bits: 0.53 MB."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.Rows = dataset.Columns = 512
    dataset.BodyPartExamined = "CHEST"
    dataset.PixelData = np.random.default_rng(0).integers(0, 4096, (512, 512), dtype=np.uint16).tobytes()
    return dataset


def send(receiver: Receiver, file: Path, associations: int, instances: int) -> Run:
    """Send ``instances`` over each of ``associations`` associations at the same time."""
    command = [receivers.storescu(), "--repeat", str(instances), "+II", "-aet", "PACS", "-aec", "FEDPACS", "127.0.0.1"]
    cpu = receiver.cpu_seconds()
    started = time.perf_counter()
    senders = [
        subprocess.Popen([*command, str(receiver.port), str(file)], env=NAGLE_OFF, stderr=subprocess.PIPE)
        for _ in range(associations)
    ]
    for sender in senders:
        _, complaint = sender.communicate()
        if sender.returncode != 0 or complaint:
            raise RuntimeError(f"storescu could not send to {receiver.name}: {complaint.decode()[:500]}")
    seconds = time.perf_counter() - started
    total = associations * instances
    return Run(total / seconds, (receiver.cpu_seconds() - cpu) / total * 1000)


def compare(folder: Path, file: Path, turns: int, instances: int) -> tuple[list[results.Figure], dict[str, object]]:
    """All receivers, interleaved."""
    runs: dict[tuple[str, int], list[Run]] = {}
    with ExitStack() as stack:
        field = [
            stack.enter_context(receivers.ours(folder / "ours")),
            stack.enter_context(receivers.orthanc(folder / "orthanc")),
            stack.enter_context(receivers.storescp(folder / "storescp")),
            stack.enter_context(receivers.null_handler(folder / "null")),
        ]
        for receiver in field:
            send(receiver, file, 2, 5)  # warm
        for _ in range(turns):
            for associations in (1, 4):
                for receiver in field:
                    run = send(receiver, file, associations, instances if associations == 1 else instances // 2)
                    runs.setdefault((receiver.name, associations), []).append(run)
    figures = []
    mine = field[0].name
    for position, associations in enumerate((1, 4)):
        label = f"received, {associations} association{'s' * (associations > 1)}"
        for name, required in REQUIRED.items():
            figures.append(
                results.Figure(
                    label,
                    _median(runs[mine, associations], "rate"),
                    "instances/s",
                    _median(runs[name, associations], "rate"),
                    name,
                    required[position],
                )
            )
    for associations in (1, 4):
        figures.append(
            results.Figure(
                f"CPU, {associations} association{'s' * (associations > 1)}",
                _median(runs[mine, associations], "cpu_ms"),
                "ms/instance",
                _median(runs["Orthanc", associations], "cpu_ms"),
                "Orthanc",
                CPU_REQUIRED,
                lower_is_better=True,
            )
        )
    raw = {f"{name}, {n}": [[round(r.rate, 1), round(r.cpu_ms, 2)] for r in rs] for (name, n), rs in runs.items()}
    return figures, {"runs (instances/s, CPU ms)": raw}


def _median(runs: Sequence[Run], what: str) -> float:
    return round(statistics.median(getattr(run, what) for run in runs), 2)


def memory(folder: Path, file: Path, instances: int, large: int) -> list[results.Figure]:
    """Growth of the listeners' memory over many instances, and of its peak over one large object."""
    with receivers.ours(folder / "memory") as receiver:
        send(receiver, file, 2, max(50, instances // 20))
        before = receiver.resident_bytes()
        send(receiver, file, 2, instances // 2)
        growth = receiver.resident_bytes() - before
        peak = receiver.peak_bytes()
        send(receiver, multi_frame(folder / "large.dcm", large), 1, 1)
        large_growth = receiver.peak_bytes() - peak
    size = f"{large / 1e9:.1f} GB object"
    return [
        results.Figure(f"memory growth, {instances} instances", growth / 1e6, "MB", required=20, lower_is_better=True),
        results.Figure(f"peak memory growth, {size}", large_growth / 1e6, "MB", required=50, lower_is_better=True),
    ]


def multi_frame(path: Path, size: int) -> Path:
    """An Enhanced CT file with about ``size`` bytes of pixels; they are a hole in the file, so it takes no space."""
    frames = size // (512 * 512 * 2)
    dataset = image()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.NumberOfFrames = frames
    del dataset.PixelData
    del dataset.DataSetTrailingPadding
    dataset.save_as(path)
    length = frames * 512 * 512 * 2
    with path.open("r+b") as file:
        file.seek(0, 2)
        file.write(b"\xe0\x7f\x10\x00OW\0\0" + length.to_bytes(4, "little"))
        file.truncate(file.tell() + length)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark, print the table, write the results."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns: under a minute, less exact")
    parser.add_argument(
        "--realtime",
        action="store_true",
        help="compare at real-time priority (root), on a machine that is busy with other things",
    )
    parser.add_argument("--profile", action="store_true", help="show where the time of an instance goes, and no more")
    options = parser.parse_args(argv)
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=WORK))  # on the disk of the repository, not on a memory file system
    try:
        file = folder / "ct.dcm"
        image().save_as(file)
        if options.profile:
            found = intake_profile.stages(folder, image(), 60 if options.quick else 300)
            loads = intake_profile.machine(folder, file, 30 if options.quick else 200)
            print(intake_profile.table(found, loads))
            return 0
        turns, instances = (3, 60) if options.quick else (5, 200)
        if options.realtime:
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(20))  # senders and receivers inherit it
        figures, details = compare(folder, file, turns, instances)
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        details["scheduling"] = "SCHED_RR 20, all processes" if options.realtime else "default"
        figures += memory(folder, file, *((400, 200_000_000) if options.quick else (MEMORY_INSTANCES, 2_000_000_000)))
    finally:
        shutil.rmtree(folder)
    print(results.table(figures))
    print(results.save("intake", figures, ["pynetdicom", "pydicom", "cryptography", "SQLAlchemy"], **details))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
