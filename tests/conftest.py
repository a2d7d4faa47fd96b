"""What one test must not leave behind for another."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """pynetdicom's ``storescu``, in an activated virtual environment, hides dcmtk's, which the tests mean."""
    own = Path(sys.prefix) / "bin"
    os.environ["PATH"] = os.pathsep.join(folder for folder in os.get_exec_path() if Path(folder) != own)


@pytest.fixture(autouse=True)
def _subnormal_floats() -> Iterator[None]:
    """Training flushes subnormal floats to zero, for the whole process; Hypothesis refuses to work like that."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)


@pytest.fixture(autouse=True, scope="module")
def _descriptors() -> Iterator[None]:
    """What tests leave open is closed by the collector, which runs seldom beside large libraries.

    pynetdicom's ``select`` takes no descriptor above 1023, and aborts: what holds many is found here, not there.
    """
    yield
    gc.collect()
    files = list(Path("/proc/self/fd").iterdir())
    assert len(files) < 256, f"{len(files)} files are open"
