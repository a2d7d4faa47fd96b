"""The processes of one run: found by a mark in their environment, whoever started them, and stopped together.

NVFlare's start scripts put themselves into the background and its job processes start sessions of their own, so
neither a parent nor a process group names them all. A variable that every child inherits does.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "FEDPACS_RUN"


def environment(run_id: str, extra: Mapping[str, str]) -> dict[str, str]:
    """This process's environment, with the run's mark and ``extra``."""
    return {**os.environ, **extra, MARK: run_id}


def marked(run_id: str) -> Iterator[psutil.Process]:
    """Every running process of the run, other than this one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == run_id:
                yield process


def is_running(run_id: str) -> bool:
    """Whether a process of the run, other than this one, is still there."""
    return next(marked(run_id), None) is not None


def stop(run_id: str, *, patience: float) -> int:
    """End every process of the run: SIGTERM, and after ``patience`` seconds SIGKILL.

    Returns
    -------
    int
        How many had to be killed.
    """
    # A start script that restarts its child comes first in the list only by luck: ask until none is left.
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        living = list(marked(run_id))
        if not living:
            return 0
        for process in living:
            with suppress(psutil.Error):
                process.terminate()
        psutil.wait_procs(living, timeout=min(3.0, max(0.1, deadline - time.monotonic())))
    killed = set()
    while living := list(marked(run_id)):
        for process in living:
            with suppress(psutil.Error):
                process.kill()
                killed.add(process.pid)
        psutil.wait_procs(living, timeout=3.0)
    return len(killed)


def stop_programs(run_id: str, names: Collection[str]) -> None:
    """Ask those of the run's processes to end whose program has one of these names."""
    for process in marked(run_id):
        with suppress(psutil.Error):
            if Path(process.exe()).name in names:
                process.terminate()


class MemoryWatch:
    """Samples the memory of all processes of a run, this one included, once a second.

    Proportional set size where the system tells it (shared pages count once), else resident set size.
    """

    def __init__(self, run_id: str, interval: float = 1.0) -> None:
        self.peak_bytes = 0
        self._run_id = run_id
        self._interval = interval
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(self._interval):
            self.peak_bytes = max(self.peak_bytes, self._sum())

    def _sum(self) -> int:
        return sum(_memory(p) for p in (psutil.Process(), *marked(self._run_id)))


def _memory(process: psutil.Process) -> int:
    try:
        full = process.memory_full_info()
        return int(getattr(full, "pss", full.rss))
    except psutil.Error:
        return 0
