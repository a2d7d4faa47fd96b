"""The processes of a node or server: what they counted together, and what they use."""

from __future__ import annotations

import re
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

from observability import exemplars

_FILE = re.compile(r"(?P<kind>counter|histogram|gauge_[a-z]+|exemplars)_(?P<pid>\d+)\.(db|json)")
_ENDED = "ended"


class SharedFigures:
    """A collector over the folder of :func:`observability.setup.share`; register it in the scraped process only.

    At each scrape the gauges of processes that ended are removed, and their counters and histograms are folded
    into one file a kind: a node that has run a thousand jobs is scraped as fast as a new one.

    Notes
    -----
    Only processes of this process's PID namespace may write here: a job in a container has its own folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()

    def collect(self) -> Iterator[Metric]:
        with self._lock:
            self.sweep()
            merged = MultiProcessCollector.merge([str(path) for path in self.folder.glob("*.db")])
            yield from exemplars.put_back(merged, self.folder)

    def sweep(self) -> None:
        """Drop the gauges of ended processes; keep what they counted."""
        ended: dict[str, list[Path]] = defaultdict(list)
        for path in self.folder.iterdir():
            match = _FILE.fullmatch(path.name)
            if match and not _alive(int(match["pid"]), path):
                ended[match["kind"]].append(path)
        for kind, paths in ended.items():
            if kind == "exemplars":
                exemplars.fold(self.folder, paths)
            elif kind in ("counter", "histogram"):
                self._fold(kind, paths)
            for path in paths:
                path.unlink(missing_ok=True)

    def _fold(self, kind: str, paths: Iterable[Path]) -> None:
        total = self.folder / f"{kind}_{_ENDED}.db"
        sums: dict[str, float] = defaultdict(float)
        for path in (total, *paths):
            if path.exists():
                for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
                    sums[key] += value
        # Beside, then renamed: a crash here loses the boot, and with it the folder, anyway.
        beside = self.folder / f"{kind}.folding"
        beside.unlink(missing_ok=True)
        target = MmapedDict(str(beside))
        for key, value in sums.items():
            target.write_value(key, value, 0.0)
        target.close()
        beside.replace(total)


def _alive(pid: int, file: Path) -> bool:
    """Whether the process that wrote ``file`` runs: not ended, no zombie, and not a later one with its number."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return bool(process.create_time() <= file.stat().st_mtime + 5.0)
    except psutil.NoSuchProcess:
        return False
    except (psutil.AccessDenied, FileNotFoundError):
        return True


ROLES = (
    ("client_plugin.dicom.pull", "puller"),
    ("client_plugin.dicom.send", "sender"),
    ("client_plugin.dicom", "listener"),
    ("client_plugin.intake", "worker"),
    ("runner_process", "job"),
    ("worker_process", "job"),
)
"""What in a command line says which part a child plays."""


class ProcessTree:
    """CPU, memory, files and number of this process and its descendants, by role."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[tuple[int, float], tuple[str, float]] = {}
        self._ended: dict[str, float] = defaultdict(float)

    def collect(self) -> Iterator[Metric]:
        count = GaugeMetricFamily("fedpacs_processes", "Processes that run now", labels=["role"])
        memory = GaugeMetricFamily(
            "fedpacs_process_resident_memory_bytes", "Resident memory of all processes of a role", labels=["role"]
        )
        files = GaugeMetricFamily("fedpacs_process_open_fds", "Open files and sockets, all of a role", labels=["role"])
        cpu = CounterMetricFamily(
            "fedpacs_process_cpu_seconds",
            "CPU time of the processes of a role, those that ended as they were last seen",
            labels=["role"],
        )
        totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        running: dict[tuple[int, float], tuple[str, float]] = {}
        parent = psutil.Process()
        for process in (parent, *parent.children(recursive=True)):
            try:
                with process.oneshot():
                    role = "parent" if process.pid == parent.pid else role_of(process.cmdline())
                    times = process.cpu_times()
                    used = (1.0, float(process.memory_info().rss), float(process.num_fds()))
                    running[process.pid, process.create_time()] = role, times.user + times.system
            except psutil.Error:
                continue  # it ended while we looked
            totals[role] = [a + b for a, b in zip(totals[role], used, strict=True)]
        for role, (number, rss, fds) in sorted(totals.items()):
            count.add_metric([role], number)
            memory.add_metric([role], rss)
            files.add_metric([role], fds)
        for role, seconds in sorted(self._cpu(running).items()):
            cpu.add_metric([role], seconds)
        yield from (count, memory, files, cpu)

    def _cpu(self, running: dict[tuple[int, float], tuple[str, float]]) -> dict[str, float]:
        """Seconds by role that only go up: a counter must not fall when a process ends."""
        with self._lock:
            for process, (role, seconds) in self._running.items():
                if process not in running:
                    self._ended[role] += seconds
            self._running = running
            total: dict[str, float] = defaultdict(float, self._ended)
            for role, seconds in running.values():
                total[role] += seconds
            return total


def role_of(command_line: list[str]) -> str:
    """The part that a child process plays, from its command line; ``other`` when it says nothing."""
    text = " ".join(command_line)
    return next((role for mark, role in ROLES if mark in text), "other")
