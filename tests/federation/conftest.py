"""What costs time to start and is shared: the demo's run, and a consortium of four hospitals for other jobs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from provisioning import policies
from tests.federation.consortium import Consortium
from tests.federation.main_job import Outcome, run_demo

SITES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")


@pytest.fixture(scope="session")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """A run of the demo that has ended."""
    it = run_demo(tmp_path_factory.mktemp("demo"), tmp_path_factory.mktemp("memory"))
    yield it
    for paths in it.spy.dumps.values():
        for path in paths:
            path.unlink()


@pytest.fixture(scope="package")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    """Four hospitals; hospital-d runs a filter of its own, which cheats when the job's executor asks it to."""
    one = Consortium(tmp_path_factory.mktemp("consortium"), SITES)
    one.provision()
    policy = json.dumps(policies.privacy()).replace(
        "client_plugin.privacy.filters.SealUpdate", "tests.federation.dishonest.DishonestUpdate"
    )
    (one.kit("hospital-d") / "local" / "privacy.json").write_text(policy)
    try:
        one.start()
        yield one
    finally:
        one.stop()
