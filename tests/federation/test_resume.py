"""Processes that are killed in the middle of a job: what comes back, with what it had, and what is left on disk."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.federation.conftest import SITES
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES
from tests.federation.outcomes import expected, model, rounds

pytestmark = pytest.mark.federation

VICTIM = "hospital-b"


def kept(consortium: Consortium, site: str, job_id: str) -> dict[str, Path]:
    """What the hospital keeps of a job on disk: ``keys`` and ``model``."""
    return {path.suffix[1:]: path for path in consortium.kit(site).rglob(f"aggregation/{job_id}.*")}


def sums_of(journal: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The model after these rounds, computed in clear."""
    means = [expected(tuple(one["contributors"]), one["number"] - 1) for one in journal]
    return {name: np.sum([mean[name] for mean in means], axis=0) for name in SHAPES}


def assert_same_model(consortium: Consortium, job_id: str, journal: Sequence[dict[str, Any]]) -> None:
    wanted = sums_of(journal)
    for site in SITES:
        theirs = model(consortium, site, job_id)
        for name in SHAPES:
            assert np.abs(theirs[name] - wanted[name]).max() < 1e-5, (site, name)


def test_a_killed_job_process_comes_back_with_its_keys(consortium: Consortium) -> None:
    job_id = consortium.submit(*job("he+masks", executor={"pace": 1.0}, server={"num_rounds": 4}))
    consortium.wait_for_round(job_id, 3)
    files = kept(consortium, VICTIM, job_id)
    assert set(files) == {"keys", "model"}
    for path in files.values():
        assert path.stat().st_mode & 0o777 == 0o600
        assert b"hospital" not in path.read_bytes()
    consortium.job_process(VICTIM, job_id).kill()
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    assert f"the process of job {job_id} was killed: start 1 of 3" in consortium.log(VICTIM)
    journal = rounds(consortium, job_id)["rounds"]
    assert journal[-1]["contributors"] == list(SITES)
    assert_same_model(consortium, job_id, journal)
    assert all(kept(consortium, site, job_id) == {} for site in SITES)


def test_a_job_goes_on_where_it_was_when_the_server_was_killed(consortium: Consortium) -> None:
    total = 4
    job_id = consortium.submit(*job("he+masks", executor={"pace": 1.0}, server={"num_rounds": total}))
    consortium.wait_for_round(job_id, 3)
    time.sleep(0.5)
    consortium.kill_server(job_id)
    before = json.loads((consortium.kit("localhost") / job_id / "rounds.json").read_text())["rounds"]
    consortium.start_one("localhost")
    consortium.connect()
    assert consortium.session is not None
    resumed = str(consortium.session.clone_job(job_id))
    assert consortium.wait(resumed) == "FINISHED:COMPLETED"
    journal = rounds(consortium, resumed)
    done = journal["resumed_after"]
    assert done >= 1
    assert [one["number"] for one in journal["rounds"]] == list(range(done + 1, total + 1))
    # The same model as without the power cut: every round's mean once.
    whole = [*before[:done], *journal["rounds"]]
    assert all(one["contributors"] == list(SITES) for one in whole)
    assert_same_model(consortium, resumed, whole)
    for site in SITES:
        assert kept(consortium, site, job_id) == {}
        assert kept(consortium, site, resumed) == {}
