"""The memory-mapped files of figures take their space when they are made.

``prometheus_client`` makes them sparse. A page that is first touched on a full disk then kills the process (SIGBUS):
the listener would die of counting that the disk is full.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

from prometheus_client.mmap_dict import MmapedDict

CAPACITY = 1 << 17
"""Bytes of a file; a node's process needs about a quarter of it."""


class ReservedDict(MmapedDict):
    """A file of figures whose pages exist before anything is written to them."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _reserve(filename, CAPACITY)
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> Any:
        if self._used + len(key.encode()) + 64 > self._capacity:  # it is about to be doubled
            _reserve(self._fname, 2 * self._capacity)
        return super()._init_value(key)  # type: ignore[no-untyped-call]


def _reserve(filename: str, size: int) -> None:
    with open(filename, "ab") as file, contextlib.suppress(OSError):  # noqa: PTH123 - as prometheus_client opens it
        os.posix_fallocate(file.fileno(), 0, size)  # no room even for this: as before, sparse


def install() -> None:
    """Have this process's figures kept so, if they are shared (`observability.setup.share`)."""
    from prometheus_client import values

    vars(values)["MmapedDict"] = ReservedDict
