"""Real processes write, end or are killed; what is left is read as the endpoint reads it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from observability.processes import ProcessTree, SharedFigures, role_of
from observability.setup import VARIABLE

WRITER = """
import sys
from observability.instruments import Counter, Gauge, Histogram
Counter("fedpacs_things_total", "t").inc(float(sys.argv[1]))
Gauge("fedpacs_level", "l").set(float(sys.argv[1]))
Gauge("fedpacs_open", "o", mode="livesum").inc()
Histogram("fedpacs_took_seconds", "h").observe(0.2, {"job": f"job-{sys.argv[1]}"})
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start(tmp_path: Path):
    started: list[subprocess.Popen[str]] = []

    def one(amount: float) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(amount)],
            env={**os.environ, VARIABLE: str(tmp_path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.wait()


def samples(folder: Path) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{k}={v}}}" for k, v in sample.labels.items()): sample.value
        for metric in SharedFigures(folder).collect()
        for sample in metric.samples
    }


def test_counters_of_processes_add_up_and_gauges_go_with_theirs(tmp_path: Path, start) -> None:
    first, second = start(3), start(4)
    both = samples(tmp_path)
    assert both["fedpacs_things_total"] == 7
    assert both["fedpacs_level"] == 4
    assert both["fedpacs_open"] == 2
    assert both["fedpacs_took_seconds_count"] == 2

    second.kill()
    second.wait()
    one = samples(tmp_path)
    assert one["fedpacs_things_total"] == 7
    assert one["fedpacs_level"] == 3
    assert one["fedpacs_open"] == 1

    first.kill()
    first.wait()
    none = samples(tmp_path)
    assert none["fedpacs_things_total"] == 7
    assert none["fedpacs_took_seconds_bucket{le=0.25}"] == 2
    assert none["fedpacs_took_seconds_bucket{le=0.1}"] == 0
    assert "fedpacs_level" not in none
    assert "fedpacs_open" not in none


def test_exemplars_survive_the_sum_and_the_process(tmp_path: Path, start) -> None:
    for amount in (3, 4):
        process = start(amount)
        process.kill()
        process.wait()
    registry = CollectorRegistry()
    registry.register(SharedFigures(tmp_path))
    families = {family.name: family for family in parse_openmetrics(openmetrics(registry).decode())}
    with_exemplar = [sample for sample in families["fedpacs_took_seconds"].samples if sample.exemplar]
    (bucket,) = with_exemplar
    assert bucket.labels == {"le": "0.25"}
    assert bucket.exemplar is not None
    assert (bucket.exemplar.labels, bucket.exemplar.value) == ({"job": "job-4"}, 0.2)


def test_a_zombie_counts_as_ended(tmp_path: Path, start) -> None:
    process = start(5)
    process.kill()
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    assert "fedpacs_level" not in samples(tmp_path)


def test_files_of_ended_processes_are_folded_into_one(tmp_path: Path, start) -> None:
    for amount in range(4):
        process = start(amount)
        process.kill()
        process.wait()
        samples(tmp_path)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["counter_ended.db", "exemplars_ended.json", "histogram_ended.db"]
    assert samples(tmp_path)["fedpacs_things_total"] == 6


def test_the_process_tree_has_roles(start) -> None:
    start(1)
    roles = {
        sample.labels["role"]: sample.value
        for metric in ProcessTree().collect()
        if metric.name == "fedpacs_processes"
        for sample in metric.samples
    }
    assert roles["parent"] == 1
    assert roles["other"] >= 1
    assert role_of(["python", "-m", "client_plugin.dicom.listener", "--kit", "k"]) == "listener"
    assert role_of(["python", "-m", "nvflare.private.fed.app.client.worker_process", "-m", "."]) == "job"


def test_cpu_seconds_do_not_fall_when_a_process_ends(start) -> None:
    tree = ProcessTree()

    def seconds() -> float:
        cpu = next(metric for metric in tree.collect() if metric.name == "fedpacs_process_cpu_seconds")
        return next(sample.value for sample in cpu.samples if sample.labels["role"] == "other")

    process = start(1)
    with_it = seconds()
    assert with_it > 0
    process.kill()
    process.wait()
    assert seconds() >= with_it
