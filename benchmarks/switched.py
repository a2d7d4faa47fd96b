"""``python -m benchmarks.switched ANSWERS MODULE ARGUMENTS``: run a process of the node whose instruments can be
switched off and on while it runs.

The same process with and without them: two processes of the same program differ by more than instruments cost.
SIGUSR1 switches off, SIGUSR2 on; each answers with a line in the file ANSWERS, the CPU seconds of the process so far.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

from observability import instruments
from observability.deferred import later

KINDS = ("Counter", "CounterBy", "Gauge", "GaugeBy", "Histogram", "HistogramBy")
METHODS = ("inc", "dec", "set", "set_to_current_time", "observe")


@contextlib.contextmanager
def switched_off() -> Iterator[None]:
    """Inside the block, in this process, instruments do nothing."""

    def nothing(*_: Any, **__: Any) -> None:
        return

    @contextlib.contextmanager
    def untimed(*_: Any) -> Iterator[None]:
        yield

    with contextlib.ExitStack() as stack:
        for kind in (getattr(instruments, name) for name in KINDS):
            for method in METHODS:
                if method in vars(kind):
                    stack.enter_context(patch.object(kind, method, nothing))
            if "time" in vars(kind):
                stack.enter_context(patch.object(kind, "time", untimed))
        yield


def listen_to_signals(answers: Path) -> None:
    """Switch at SIGUSR1 and SIGUSR2, in this process."""
    off = contextlib.ExitStack()

    def answer() -> None:
        with answers.open("a") as file:
            file.write(f"{time.process_time():.9f}\n")

    def switch_off(*_: Any) -> None:
        later.flush()  # what was noted with instruments is counted with them
        off.enter_context(switched_off())
        answer()

    def switch_on(*_: Any) -> None:
        off.close()
        answer()

    signal.signal(signal.SIGUSR1, switch_off)
    signal.signal(signal.SIGUSR2, switch_on)


class Switch:
    """The other end: switches a process, and tells its CPU seconds at that moment."""

    def __init__(self, pid: int, answers: Path) -> None:
        self._pid = pid
        self._answers = answers
        self._answered = 0

    def turn(self, *, on: bool) -> float:
        """Switch instruments on or off; the answer is the CPU seconds that the process has used so far."""
        os.kill(self._pid, signal.SIGUSR2 if on else signal.SIGUSR1)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            lines = self._answers.read_text().splitlines(keepends=True) if self._answers.exists() else []
            if len(lines) > self._answered and lines[-1].endswith("\n"):
                self._answered = len(lines)
                return float(lines[-1])
            time.sleep(0.001)
        raise RuntimeError("the process does not answer the switch of its instruments")


if __name__ == "__main__":
    listen_to_signals(Path(sys.argv[1]))
    sys.argv = sys.argv[2:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
