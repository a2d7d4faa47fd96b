"""Encrypted aggregation through provisioned kits and real NVFlare processes, and a tiny executor."""

from __future__ import annotations

import numpy as np
import pytest

from tests.federation.conftest import SITES
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES, weight
from tests.federation.outcomes import audited, expected, got, means, model, rounds

pytestmark = pytest.mark.federation

WITHOUT_B = ("hospital-a", "hospital-c", "hospital-d")


LEAKS = ["raw", "weights", "forge", "nan", "error"]
SHARE_WITHOUT_B = sum(weight(site) for site in WITHOUT_B) / sum(weight(site) for site in SITES)


@pytest.fixture(scope="module")
def jobs(consortium: Consortium) -> dict[str, str]:
    """Jobs that run at the same time. The last two are of the other kinds of sums, and lose hospital-b in round 2."""
    leaking = {"misbehave": {"hospital-b": LEAKS}}
    losing = {"misbehave": {"hospital-b": ["", "nan"]}}
    required = {"bits": 21, "num_rounds": 3, "required_sites": ["hospital-b"]}
    share = {"bits": 16, "min_share": SHARE_WITHOUT_B + 0.01}
    return {
        "leaking": consortium.submit(*job(executor=leaking, server={"num_rounds": len(LEAKS)})),
        "required": consortium.submit(*job("he", losing, required, {"bits": 21})),
        "share": consortium.submit(*job("masks", losing, {"num_rounds": 3, **share}, share)),
    }


def test_what_is_not_sealed_does_not_leave(consortium: Consortium, jobs: dict[str, str]) -> None:
    job_id = jobs["leaking"]
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    progress = rounds(consortium, job_id)
    assert len(progress["rounds"]) == len(LEAKS)
    for step, one in enumerate(progress["rounds"]):
        assert one["contributors"] == list(WITHOUT_B)
        # The policy of these hospitals lets the loss leave and nothing else.
        assert all(one["sites"][site]["metrics"] == {"loss": 1.5} for site in WITHOUT_B)
        assert one["sites"]["hospital-b"]["bytes_up"] == 0
        assert one["sites"]["hospital-b"]["refused"]
        # It still opens what the others sent.
        answer = got(consortium, "hospital-b", job_id)[step]
        for name, values in expected(WITHOUT_B, step).items():
            assert np.abs(np.array(answer["mean"][name]) - values).max() < 1e-6
    assert progress["phase"] == "finished"
    assert all(progress["finish"][site]["metrics"] == {"loss": 0.25} for site in SITES)


@pytest.mark.parametrize(("lost", "error"), [("required", 1e-5), ("share", 1e-4)])
def test_a_job_that_loses_a_required_site_or_too_much_of_the_data_does_not_finish(
    consortium: Consortium, jobs: dict[str, str], lost: str, error: float
) -> None:
    job_id = jobs[lost]
    assert consortium.wait(job_id) not in ("FINISHED:COMPLETED", "FINISHED:OK")
    progress = rounds(consortium, job_id)
    assert progress["phase"] == "failed"
    for site in SITES:  # the first round was whole: 21 bits with encryption, 16 bits with masks
        (given,) = means(consortium, site, job_id).values()
        for name, values in expected(SITES, 0).items():
            assert np.abs(np.array(given[name]) - values).max() < error, site
    if lost == "required":
        assert "hospital-b is missing" in progress["error"]
    else:  # the server knows no weights: the hospitals refuse to open the second sum
        assert all("too_little_data" in audited(consortium, site, job_id) for site in SITES)


def test_a_slow_site_is_left_out_and_gets_what_it_missed(consortium: Consortium) -> None:
    executor = {"misbehave": {"hospital-b": ["", "slow"]}, "pace": 1.5, "slow": 9.0}
    server = {"num_rounds": 8, "round_timeout": 5, "rekey_rounds": 3}
    job_id = consortium.submit(*job("he+masks", executor=executor, server=server))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    journal = rounds(consortium, job_id)["rounds"]
    assert set(journal[1]["sites"]) == set(WITHOUT_B)  # what it sent late was not taken
    contributors = [one["contributors"] for one in journal]
    assert contributors[0] == list(SITES)
    assert contributors[1] == list(WITHOUT_B)
    assert contributors[-1] == list(SITES)
    assert sorted(means(consortium, "hospital-a", job_id)) == list(range(1, 9))
    # All sites end with the same model, whichever way they came there.
    total, late = model(consortium, "hospital-a", job_id), model(consortium, "hospital-b", job_id)
    for name in SHAPES:
        assert np.abs(total[name] - late[name]).max() < 1e-5
    assert len(means(consortium, "hospital-b", job_id)) < 8
