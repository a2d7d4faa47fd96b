"""Encrypted aggregation through provisioned kits and real NVFlare processes, and a tiny executor."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES, update, weight

pytestmark = pytest.mark.federation

SITES = ("hospital-a", "hospital-b", "hospital-c", "hospital-d")
WITHOUT_B = ("hospital-a", "hospital-c", "hospital-d")


@pytest.fixture(scope="module")
def consortium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Consortium]:
    one = Consortium(tmp_path_factory.mktemp("consortium"), SITES)
    one.provision()
    try:
        one.start()
        yield one
    finally:
        one.stop()


def rounds(consortium: Consortium, job_id: str) -> dict[str, Any]:
    """What the server wrote down, from wherever NVFlare has put the job's workspace by now."""
    assert consortium.session is not None
    place = consortium.session.download_job_result(job_id)
    (found,) = Path(place).rglob("rounds.json")
    result: dict[str, Any] = json.loads(found.read_text())
    return result


def got(consortium: Consortium, site: str, job_id: str) -> list[dict[str, Any]]:
    path = consortium.kit(site) / job_id / "got.json"
    result: list[dict[str, Any]] = json.loads(path.read_text())
    return result


def expected(sites: tuple[str, ...], step: int) -> dict[str, Any]:
    weights = [weight(site) for site in sites]
    return {
        name: np.average([update(site, step)[name] for site in sites], axis=0, weights=weights).ravel()
        for name in SHAPES
    }


def test_what_is_not_sealed_does_not_leave(consortium: Consortium) -> None:
    ways = ["raw", "weights", "forge", "nan", "error"]
    job_id = consortium.submit(*job(executor={"misbehave": {"hospital-b": ways}}, server={"num_rounds": len(ways)}))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    progress = rounds(consortium, job_id)
    assert len(progress["rounds"]) == len(ways)
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


def test_a_job_that_loses_a_required_site_does_not_finish(consortium: Consortium) -> None:
    wanted = job(executor={"misbehave": {"hospital-b": ["nan"]}}, server={"required_sites": ["hospital-b"]})
    job_id = consortium.submit(*wanted)
    assert consortium.wait(job_id) not in ("FINISHED:COMPLETED", "FINISHED:OK")
    progress = rounds(consortium, job_id)
    assert progress["phase"] == "failed"
    assert "hospital-b" in progress["error"]


def means(consortium: Consortium, site: str, job_id: str) -> dict[int, dict[str, Any]]:
    """What the site was given, by the round of training that it was for."""
    return {answer["step"]: answer["mean"] for answer in got(consortium, site, job_id)}


def test_a_site_that_drops_out_of_a_masked_round_is_back_in_the_next(consortium: Consortium) -> None:
    executor = {"misbehave": {"hospital-b": ["", "nan"]}}
    job_id = consortium.submit(*job("he+masks", executor=executor, server={"num_rounds": 3}))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    assert [one["contributors"] for one in rounds(consortium, job_id)["rounds"]] == [
        list(SITES),
        list(WITHOUT_B),
        list(SITES),
    ]
    for site in SITES:
        given = means(consortium, site, job_id)
        for step, sites in enumerate((SITES, WITHOUT_B, SITES)):
            for name, values in expected(sites, step).items():
                assert np.abs(np.array(given[step + 1][name]) - values).max() < 1e-6


def test_a_slow_site_is_left_out_and_gets_what_it_missed(consortium: Consortium) -> None:
    executor = {"misbehave": {"hospital-b": ["", "slow"]}, "pace": 1.5, "slow": 9.0}
    server = {"num_rounds": 8, "round_timeout": 5, "rekey_rounds": 3}
    job_id = consortium.submit(*job("he+masks", executor=executor, server=server))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    contributors = [one["contributors"] for one in rounds(consortium, job_id)["rounds"]]
    assert contributors[0] == list(SITES)
    assert contributors[1] == list(WITHOUT_B)
    assert contributors[-1] == list(SITES)
    everything = means(consortium, "hospital-a", job_id)
    assert sorted(everything) == list(range(1, 9))
    # All sites end with the same model, whichever way they came there.
    for name in SHAPES:
        total = np.sum([np.array(one[name]) for one in everything.values()], axis=0)
        late = np.sum([np.array(one[name]) for one in means(consortium, "hospital-b", job_id).values()], axis=0)
        assert np.abs(total - late).max() < 1e-5
    assert len(means(consortium, "hospital-b", job_id)) < len(everything)


@pytest.mark.parametrize(
    ("lie", "named"),
    [("middle", "bad_signature"), ("sum", "wrong_sum"), ("second", "second_reveal")],
)
def test_a_lying_server(consortium: Consortium, lie: str, named: str) -> None:
    before = {site: len(consortium.log(site)) for site in SITES}
    job_id = consortium.submit(*job("he+masks", server={"lie": lie}))
    status = consortium.wait(job_id)
    assert (status == "FINISHED:COMPLETED") == (lie == "second")
    for site in SITES:
        assert named in consortium.log(site)[before[site] :], f"{site} did not name it"
    if lie == "second":
        assert "every site refused the second set" in consortium.log("localhost")
        for site in SITES:
            assert any("second_reveal" in log.read_text() for log in consortium.kit(site).rglob("audit.log"))


def test_the_server_cannot_open_anything(consortium: Consortium) -> None:
    """No library that could, and no key of the hospitals, in its processes and files."""
    job_id = consortium.submit(*job("he+masks", executor={"pace": 1.5}))
    found = False
    for _ in range(120):
        for process in psutil.process_iter(["cmdline"]):
            line = " ".join(process.info["cmdline"] or [])
            if job_id in line and "runner_process" in line:
                maps = Path(f"/proc/{process.pid}/maps").read_text()
                found = found or "numpy" in maps
                assert "tenseal" not in maps
                assert "sealapi" not in maps
        if found and consortium.wait_for_phase(job_id, "training"):
            break
        time.sleep(0.1)
    assert found
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
