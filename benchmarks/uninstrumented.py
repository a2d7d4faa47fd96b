"""``python -m benchmarks.uninstrumented MODULE ARGUMENTS``: run a process of the node with instruments switched off.

The other side of ``benchmarks.observability``: the same code, and counting does nothing.
"""

from __future__ import annotations

import contextlib
import runpy
import sys
from collections.abc import Iterator
from typing import Any

from observability import instruments


def switch_off() -> None:
    """Replace what instruments do by nothing, for this process."""

    def nothing(*_: Any, **__: Any) -> None:
        return

    @contextlib.contextmanager
    def untimed(*_: Any) -> Iterator[None]:
        yield

    for kind in ("Counter", "CounterBy", "Gauge", "GaugeBy", "Histogram", "HistogramBy"):
        instrument = getattr(instruments, kind)
        for name in ("inc", "dec", "set", "set_to_current_time", "observe"):
            if hasattr(instrument, name):
                setattr(instrument, name, nothing)
        if hasattr(instrument, "time"):
            instrument.time = untimed


if __name__ == "__main__":
    switch_off()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
