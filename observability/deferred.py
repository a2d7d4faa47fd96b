"""Counting that a busy path does not wait for.

An instrument costs its caller a few memory-mapped writes, and after half a megabyte of pixels has gone through the
processor's cache several times what they cost in a loop. What happens hundreds of times a second is noted instead, and
counted by a thread, all at once.
"""

from __future__ import annotations

import atexit
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import ParamSpec

P = ParamSpec("P")

LATE = 0.1
"""Seconds that a count may be behind."""


class Deferred:
    """Calls of instruments that are made a moment later, in their order; those left at exit are made then."""

    def __init__(self) -> None:
        self._noted: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._starting = threading.Lock()
        self._flushing = threading.Lock()
        self._thread: threading.Thread | None = None

    def note(self, count: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call ``count`` soon. It must not raise."""
        self._noted.append(lambda: count(*args, **kwargs))
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._start()

    def flush(self) -> None:
        """Make the calls that were noted so far."""
        with self._flushing:
            while self._noted:
                self._noted.popleft()()

    def _start(self) -> None:
        with self._starting:
            if self._thread is None:
                atexit.register(self.flush)
                self._thread = threading.Thread(target=self._run, name="counting", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(LATE)
            self._wake.clear()
            self.flush()


later = Deferred()
"""The one of this process."""
