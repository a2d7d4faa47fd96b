"""The demo's real data, fetched once per checkout (or taken from the cache that FEDPACS_DATA names)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo.data import DataFolder, fetch

_CACHE = Path(__file__).parents[3] / ".demo" / "cache"


@pytest.fixture(scope="session")
def data() -> DataFolder:
    return fetch(Path(os.environ.get("FEDPACS_DATA", _CACHE)))
