"""The demo's run, shared by every module that looks at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.federation.main_job import Outcome, run_demo


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """A run of the demo that has ended."""
    it = run_demo(tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("memory"))
    yield it
    for paths in it.spy.dumps.values():
        for path in paths:
            path.unlink()
