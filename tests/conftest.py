"""What one test must not leave behind for another."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _subnormal_floats() -> Iterator[None]:
    """Training flushes subnormal floats to zero, for the whole process; Hypothesis refuses to work like that."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_flush_denormal(False)
