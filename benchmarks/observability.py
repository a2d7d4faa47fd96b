"""What it costs to be observed: ``python -m benchmarks.observability [--quick]``.

* A scrape of a busy node: real listeners and workers under ``storescu``, scraped as Prometheus does it.
* Instruments on C-STORE: one listener whose instruments are switched off and on (`benchmarks.switched`).
* Instruments on a training round: the node's own trainer with and without them.

On and off differ by less than two runs of the same thing do. So short runs are compared in neighbouring pairs, in the
same process (`benchmarks.paired`), in CPU and in wall time; and beside the comparison stands what it should be: how
many instruments a C-STORE or a step touches, times what touching one costs. Images are made up: throughput only.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import nullcontext
from pathlib import Path

import torch
import yaml

from benchmarks import paired, receivers, results
from benchmarks.intake import image, send
from benchmarks.receivers import NAGLE_OFF, free_port
from benchmarks.switched import Switch, switched_off
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import Samples, TaskData
from client_plugin.learning.training import LocalTrainer
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import Received
from observability.setup import share

WORK = Path(__file__).parent / ".work"
SCRAPE_SECONDS, SCRAPE_BYTES = 0.050, 1_000_000
CSTORE_COST, ROUND_COST = 2.0, 1.0
"""Per cent."""
STEPS = 5
"""Of one measured round: a quarter of the default, so that a pair is short."""
PER_CSTORE, PER_STEP, PER_ROUND = 5, 5, 12
"""Instruments that one C-STORE (three for its answer, two for its commit), one training step, one round touch."""

NODE = """
import sys
from pathlib import Path
from client_plugin.config import NodeConfig
from observability.setup import share
config = NodeConfig.load(Path(sys.argv[1]))
share(config.root)
from client_plugin.archive.archive import Archive
from client_plugin.intake.service import Intake
from client_plugin.metrics.exporter import MetricsServer
server, intake = MetricsServer(config, Archive.open(config).catalogue), Intake(config)
server.start()
intake.start()
print("ready", flush=True)
sys.stdin.read()
intake.stop(timeout=5)
server.stop()
"""


def scrape(folder: Path, scrapes: int) -> list[results.Figure]:
    """Seconds and bytes of a scrape while four associations store and workers archive."""
    dicom, http = free_port(), free_port()
    config = {
        "site": "bench",
        "dicom": {"host": "127.0.0.1", "port": dicom, "peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1"]}]},
        "metrics": {"port": http},
    }
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(config))
    file = folder / "image.dcm"
    image().save_as(file)
    node = subprocess.Popen(
        [sys.executable, "-c", NODE, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert node.stdin is not None  # noqa: S101 - it is a pipe
    assert node.stdout is not None  # noqa: S101
    node.stdout.readline()
    stop = threading.Event()
    sender = [
        receivers.storescu(),
        "--repeat",
        "50",
        "+II",
        "-aet",
        "PACS",
        "-aec",
        "FEDPACS",
        "127.0.0.1",
        str(dicom),
        str(file),
    ]

    def keep_busy() -> None:
        while not stop.is_set():
            subprocess.run(sender, env=NAGLE_OFF, check=False, capture_output=True)

    busy = [threading.Thread(target=keep_busy) for _ in range(4)]
    seconds, size = [], 0
    try:
        for thread in busy:
            thread.start()
        time.sleep(3.0)
        for _ in range(scrapes):
            started = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics", timeout=10) as answer:
                size = max(size, len(answer.read()))
            seconds.append(time.perf_counter() - started)
            time.sleep(0.2)
    finally:
        stop.set()
        for thread in busy:
            thread.join()
        node.stdin.close()
        node.wait(30)
    return [
        results.Figure(
            "scrape of a busy node, median",
            statistics.median(seconds),
            "s",
            required=SCRAPE_SECONDS,
            lower_is_better=True,
        ),
        results.Figure("scrape of a busy node, slowest", max(seconds), "s"),
        results.Figure("size of the answer", size, "bytes", required=SCRAPE_BYTES, lower_is_better=True),
    ]


def cstore(folder: Path, pairs: int, instances: int) -> list[results.Figure]:
    """One association to a listener whose instruments are on or off, in pairs."""
    file = folder / "image.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    image().save_as(file)
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    with receivers.ours(folder / "node", listeners=1, switched=folder / "answers") as receiver:
        switch = Switch(receiver.processes[0].pid, folder / "answers")
        send(receiver, file, 1, instances)  # warm up
        for pair in paired.order(pairs):
            for on in pair:
                before = switch.turn(on=on)
                wall[on].append(1 / send(receiver, file, 1, instances).rate)
                cpu[on].append((switch.turn(on=on) - before) / instances)
    return compare("C-STORE", wall, cpu, PER_CSTORE, CSTORE_COST)


def training(pairs: int, images: int) -> list[results.Figure]:
    """Rounds of the node's own trainer with and without instruments, in pairs."""
    generator = torch.Generator().manual_seed(0)
    config = LearningConfig.from_job({"training": {"steps": STEPS}})
    task = open_task(config)
    size = config.task.image_size
    samples = Samples(
        images=torch.randn(images, task.in_channels, size, size, generator=generator),
        targets=torch.randint(len(task.classes), (images,), generator=generator),
        weights=torch.ones(images),
        patients=1,
    )
    trainer = LocalTrainer(task, TaskData(samples, samples), config)
    weights = trainer.initial_weights()
    wall: dict[bool, list[float]] = {True: [], False: []}
    cpu: dict[bool, list[float]] = {True: [], False: []}
    trainer.train_round(weights, 0)  # warm up
    for number, pair in enumerate(paired.order(pairs)):
        for on in pair:
            with nullcontext() if on else switched_off():
                started, used = time.perf_counter(), time.process_time()
                # Both of a pair train the same round: the same samples, the same steps.
                trainer.train_round(weights, number % config.training.rounds)
                wall[on].append(time.perf_counter() - started)
                cpu[on].append(time.process_time() - used)
    return compare("a training round", wall, cpu, PER_STEP * STEPS + PER_ROUND, ROUND_COST)


def compare(
    what: str, wall: dict[bool, list[float]], cpu: dict[bool, list[float]], touched: int, required: float
) -> list[results.Figure]:
    """What the work costs more with instruments, in per cent: the median of the pairs' ratios.

    Parameters
    ----------
    what
        The work.
    wall, cpu
        Seconds with instruments (True) and without, pair by pair.
    touched
        How many instruments the work touches.
    required
        Per cent not to exceed.
    """
    figures = []
    for name, sides in (("CPU", cpu), ("wall", wall)):
        found = paired.ratio(sides[True], sides[False])
        median, low, high = (round(100 * (value - 1), 3) for value in (found.median, found.low, found.high))
        figures += [
            results.Figure(
                f"instruments on {what}, {name} time, {found.pairs} pairs",
                median,
                "%",
                required=required,
                lower_is_better=True,
                interval=(low, high),
            ),
            results.Figure(f"{what} without instruments, {name} time", 1000 * statistics.median(sides[False]), "ms"),
        ]
    share_of = 100 * touched * touch() / statistics.median(cpu[False])
    return [
        *figures,
        results.Figure(
            f"{touched} observations of {what}, of its CPU time", share_of, "%", required=required, lower_is_better=True
        ),
    ]


def touch(times: int = 20_000) -> float:
    """CPU seconds that one observation of a shared, labelled histogram takes: the dearest of the instruments."""
    started = time.thread_time()
    for _ in range(times):
        metrics.RECEIVE_SECONDS.observe(Received.STORED, 0.01)
    return (time.thread_time() - started) / times


def main() -> None:
    """Measure, print the table, write ``results/observability.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: within a minute")
    quick = parser.parse_args().quick
    WORK.mkdir(exist_ok=True)
    torch.set_num_threads(1)  # threads that wait for each other would count as work
    with tempfile.TemporaryDirectory(dir=WORK) as name:
        folder = Path(name)
        share(folder / "shared")
        cost = touch()
        figures = [
            *scrape(folder / "node", 20 if quick else 100),
            *cstore(folder / "cstore", 8 if quick else 120, 80),
            *training(12 if quick else 150, 1000),
            results.Figure("one observation", cost * 1e6, "µs"),
        ]
    print(results.table(figures))
    packages = ["fedpacs", "prometheus-client", "pynetdicom", "torch", "monai"]
    results.save(
        "observability-quick" if quick else "observability",
        figures,
        packages,
        quick=quick,
        note="made-up images: throughput only",
    )


if __name__ == "__main__":
    main()
