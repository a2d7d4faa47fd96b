"""Writers of one SQLite file take turns.

SQLite lets one transaction write at a time; who finds another one writing sleeps for up to a tenth of a second and
looks again. A listener that answers two hundred instances a second loses a tenth of them to those sleeps, so writers
wait here first, and look often. It is a courtesy, not a safeguard: SQLite's own lock holds, and who waited in vain,
since another writer hangs, goes on to it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

_LOOK = 0.0003  # seconds; a transaction takes a few thousandths


def lock_file(path: Path) -> FileIO:
    """A private file to lock, made if need be. Closed, and with it unlocked, when nobody holds it any more."""
    return FileIO(path, "a", opener=lambda name, flags: os.open(name, flags, 0o600))


class Turns:
    """The writers in all threads and processes that open the same file; the turn of one that dies is over.

    Parameters
    ----------
    path
        A file that is only locked, beside the database.
    patience
        Seconds to wait for a turn.
    """

    def __init__(self, path: Path, patience: float = 5.0) -> None:
        self._patience = patience
        self._file = lock_file(path)
        self._threads = threading.Lock()  # threads share the file, and with it its lock

    @contextmanager
    def take(self) -> Iterator[None]:
        """Wait for one's turn and hold it for the block. Not reentrant."""
        end = time.monotonic() + self._patience
        mine = self._threads.acquire(timeout=self._patience)
        try:
            locked = mine and self._lock(end)
            try:
                yield
            finally:
                if locked:
                    fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            if mine:
                self._threads.release()

    def _lock(self, end: float) -> bool:
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > end:
                    return False
                time.sleep(_LOOK)
            else:
                return True

    def close(self) -> None:
        self._file.close()
