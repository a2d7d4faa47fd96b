"""Encrypted aggregation through provisioned kits and real NVFlare processes, and a tiny executor."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.federation.conftest import SITES
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES, weight
from tests.federation.outcomes import expected, got, means, model, rounds

pytestmark = pytest.mark.federation

WITHOUT_B = ("hospital-a", "hospital-c", "hospital-d")


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


def test_a_job_that_loses_a_required_site_or_too_much_of_the_data_does_not_finish(consortium: Consortium) -> None:
    """With the other kinds of sums: masks alone, 16 and 21 bits. Their first rounds are whole."""
    executor = {"misbehave": {"hospital-b": ["", "nan"]}}
    without_b = sum(weight(site) for site in WITHOUT_B) / sum(weight(site) for site in SITES)
    kinds = {16: ("masks", {"min_share": without_b + 0.01}, 1e-4), 21: ("he", {"required_sites": ["hospital-b"]}, 1e-5)}
    submitted = {}
    for bits, (encryption, quorum, _) in kinds.items():
        client = {"bits": bits, "min_share": quorum.get("min_share", 0.0)}
        server = {"bits": bits, "num_rounds": 3, **quorum}
        submitted[bits] = consortium.submit(*job(encryption, executor=executor, server=server, client=client))
    for bits, job_id in submitted.items():
        assert consortium.wait(job_id) not in ("FINISHED:COMPLETED", "FINISHED:OK")
        assert rounds(consortium, job_id)["phase"] == "failed"
        for site in SITES:
            (given,) = means(consortium, site, job_id).values()
            for name, values in expected(SITES, 0).items():
                assert np.abs(np.array(given[name]) - values).max() < kinds[bits][2], (bits, site)
    assert "hospital-b is missing" in rounds(consortium, submitted[21])["error"]
    # The server knows no weights: the hospitals refuse to open the second sum.
    for site in SITES:
        audit = (consortium.kit(site) / submitted[16] / "audit.log").read_text()
        assert "too_little_data" in audit, site


def test_a_slow_site_is_left_out_and_gets_what_it_missed(consortium: Consortium) -> None:
    executor = {"misbehave": {"hospital-b": ["", "slow"]}, "pace": 1.5, "slow": 9.0}
    server = {"num_rounds": 8, "round_timeout": 5, "rekey_rounds": 3}
    job_id = consortium.submit(*job("he+masks", executor=executor, server=server))
    said = len(consortium.log("localhost"))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    assert "hospital-b answered after the deadline; its answer is not used" in consortium.log("localhost")[said:]
    contributors = [one["contributors"] for one in rounds(consortium, job_id)["rounds"]]
    assert contributors[0] == list(SITES)
    assert contributors[1] == list(WITHOUT_B)
    assert contributors[-1] == list(SITES)
    assert sorted(means(consortium, "hospital-a", job_id)) == list(range(1, 9))
    # All sites end with the same model, whichever way they came there.
    total, late = model(consortium, "hospital-a", job_id), model(consortium, "hospital-b", job_id)
    for name in SHAPES:
        assert np.abs(total[name] - late[name]).max() < 1e-5
    assert len(means(consortium, "hospital-b", job_id)) < 8


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
