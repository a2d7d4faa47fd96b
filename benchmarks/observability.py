"""What it costs to be observed: ``python -m benchmarks.observability [--quick]``.

* A scrape of a busy node: real listeners and workers under ``storescu``, scraped as Prometheus does it.
* Instruments on C-STORE: the same listener with and without them (``benchmarks.uninstrumented``), taking turns.
* Instruments on a training round: the node's own trainer with and without them, taking turns.

On and off differ by less than two runs of the same thing do, so beside the comparison stands what it should be:
how many instruments a C-STORE or a step touches, times what touching one costs. Images are made up: throughput only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from contextlib import ExitStack, nullcontext
from pathlib import Path

import torch
import yaml

from benchmarks import receivers, results
from benchmarks.intake import image, send
from benchmarks.receivers import NAGLE_OFF, free_port
from benchmarks.uninstrumented import switched_off
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import Samples, TaskData
from client_plugin.learning.training import LocalTrainer
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import Received
from observability.setup import share

WORK = Path(__file__).parent / ".work"
SCRAPE_SECONDS, SCRAPE_BYTES = 0.050, 1_000_000
CSTORE_COST, ROUND_COST = 1.02, 1.01
PER_CSTORE, PER_STEP, PER_ROUND = 6, 3, 12
"""Instruments that one C-STORE (three of its answer, three of its commit), one training step, one round touch."""

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
        "storescu",
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


def cstore(folder: Path, turns: int, instances: int) -> list[results.Figure]:
    """The same listener with and without instruments, one association, in turns."""
    file = folder / "image.dcm"
    folder.mkdir(parents=True, exist_ok=True)
    image().save_as(file)
    wall: dict[str, list[float]] = {"on": [], "off": []}
    cpu: dict[str, list[float]] = {"on": [], "off": []}
    with ExitStack() as stack:
        sides = {
            "on": stack.enter_context(receivers.ours(folder / "on", listeners=1)),
            "off": stack.enter_context(receivers.ours(folder / "off", listeners=1, instrumented=False)),
        }
        for name in sides:
            send(sides[name], file, 1, instances)  # warm up
        for turn in range(turns):
            for name in ("on", "off") if turn % 2 else ("off", "on"):
                run = send(sides[name], file, 1, instances)
                wall[name].append(1000 / run.rate)
                cpu[name].append(run.cpu_ms)
    figures = compare("C-STORE, wall", wall, "ms", CSTORE_COST) + compare("C-STORE, CPU", cpu, "ms", CSTORE_COST)
    counted = PER_CSTORE * touch()
    share_of = counted / (statistics.median(wall["off"]) / 1000)
    return [
        *figures,
        results.Figure("C-STORE, instruments times their cost", share_of, "share", required=0.02, lower_is_better=True),
    ]


def training(turns: int, images: int) -> list[results.Figure]:
    """Rounds of the node's own trainer with and without instruments, in turns."""
    generator = torch.Generator().manual_seed(0)
    config = LearningConfig()
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
    seconds: dict[str, list[float]] = {"on": [], "off": []}

    def one_round(turn: int) -> float:
        started = time.process_time()
        trainer.train_round(weights, turn % config.training.rounds)
        return time.process_time() - started

    one_round(0)
    for turn in range(turns):
        for name in ("on", "off") if turn % 2 else ("off", "on"):
            with nullcontext() if name == "on" else switched_off():
                seconds[name].append(one_round(turn))
    touched = PER_STEP * config.training.steps + PER_ROUND
    share_of = touched * touch() / statistics.median(seconds["off"])
    return [
        *compare("training round, CPU", seconds, "s", ROUND_COST),
        results.Figure(
            "training round, instruments times their cost", share_of, "share", required=0.01, lower_is_better=True
        ),
    ]


def compare(name: str, sides: dict[str, list[float]], unit: str, required: float) -> list[results.Figure]:
    """Median with instruments against median without."""
    on, off = statistics.median(sides["on"]), statistics.median(sides["off"])
    return [results.Figure(name, on, unit, off, "without instruments", required, lower_is_better=True)]


def touch(times: int = 20_000) -> float:
    """CPU seconds that one increment of a shared, labelled counter takes."""
    started = time.thread_time()
    for _ in range(times):
        metrics.RECEIVED_INSTANCES.inc(Received.STORED)
    return (time.thread_time() - started) / times


def main() -> None:
    """Measure, print the table, write ``results/observability.json``."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer turns: within a minute")
    quick = parser.parse_args().quick
    WORK.mkdir(exist_ok=True)
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(dir=WORK) as name:
        folder = Path(name)
        share(folder / "shared")
        cost = touch()
        figures = [
            *scrape(folder / "node", 20 if quick else 100),
            *cstore(folder / "cstore", 4 if quick else 20, 40 if quick else 150),
            *training(2 if quick else 12, 1000),
            results.Figure("one increment", cost * 1e6, "µs"),
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
