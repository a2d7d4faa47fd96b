"""Writers of one SQLite file take turns.

SQLite lets one transaction write at a time; who finds another one writing sleeps for some milliseconds and looks
again. A listener that answers two hundred instances a second loses a tenth of them to those sleeps, so writers wait
here instead, where the kernel wakes the next one at once. It is a courtesy, not a safeguard: SQLite's own lock holds.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Turns:
    """A queue of writers in all threads and processes that open the same file; it is left when a process dies.

    Parameters
    ----------
    path
        A file that is only locked, beside the database.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._threads = threading.Lock()  # threads share the descriptor, and with it the file's lock

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for one's turn and hold it for the block. Not reentrant."""
        with self._threads:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._descriptor)
