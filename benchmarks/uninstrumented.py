"""``python -m benchmarks.uninstrumented MODULE ARGUMENTS``: run a process of the node with instruments switched off.

The other side of ``benchmarks.observability``: the same code, and counting does nothing.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

from observability import instruments

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


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    with switched_off():
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
