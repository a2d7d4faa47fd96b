"""Every attack of the protocol's list through real NVFlare processes: detected, named, never a wrong sum."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.federation.conftest import SITES
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES
from tests.federation.outcomes import audited, expected, means, model, rounds

pytestmark = pytest.mark.federation

CHEATER = "hospital-d"
HONEST = SITES[:3]

# By round: what hospital-d does, what the server does, and the name under which the server refuses hospital-d's update.
SCRIPT: list[tuple[str, str, str | None]] = [
    ("", "twice", None),
    ("replay", "", "wrong_round"),
    ("tampered", "", "tampered"),
    ("cut", "", "tampered"),
    ("short", "", "truncated"),
    ("ahead", "", "wrong_round"),
    ("as another", "", "unknown_site"),
    ("other layout", "", "layout_differs"),
    ("longer", "", "layout_differs"),
    ("shape", "", "TASK_RESULT_FILTER_ERROR"),
    ("inf", "", "TASK_RESULT_FILTER_ERROR"),
    ("", "second", None),
    ("", "old", None),
    ("", "sum of one", "TASK_DATA_FILTER_ERROR"),
    ("", "fewer names", "TASK_DATA_FILTER_ERROR"),
    ("", "", None),
]
NAMED_AT_THE_CHEATER = {"layout_differs", "not_finite", "wrong_sum"}
NAMED_EVERYWHERE = {"second_reveal", "wrong_round", "replay", "wrong_job"}

# What nobody can get past: what hospital-d does, what the server does from round to round, how the others name it.
FATAL: dict[str, tuple[str, list[str], str]] = {
    "sealed with another key": ("other key", ["", ""], "wrong_sum"),
    "no shares of its mask": ("no shares", ["", ""], "wrong_key"),
    "a server in the middle": ("", ["middle", "middle"], "bad_signature"),
}


@pytest.fixture(scope="module")
def jobs(consortium: Consortium) -> dict[str, str]:
    """All of them at the same time, as most of a job's time is NVFlare's start and end of processes."""
    executor = {"misbehave": {CHEATER: [attack for attack, _, _ in SCRIPT]}}
    server = {"lies": [lie for _, lie, _ in SCRIPT], "num_rounds": len(SCRIPT)}
    submitted = {"script": consortium.submit(*job("he+masks", executor=executor, server=server))}
    for name, (attack, lies, _) in FATAL.items():
        executor = {"misbehave": {CHEATER: [attack]}}
        submitted[name] = consortium.submit(*job("he+masks", executor=executor, server={"lies": lies}))
    return submitted


def contributors(attack: str, lie: str) -> tuple[str, ...]:
    return HONEST if attack or lie in ("sum of one", "fewer names") else SITES


def test_the_server_cannot_open_anything(consortium: Consortium, jobs: dict[str, str]) -> None:
    """No library that could is in its process, while it adds."""
    job_id = jobs["script"]
    consortium.wait_for_round(job_id, 2)
    maps = Path(f"/proc/{consortium.job_process('localhost', job_id).pid}/maps").read_text()
    assert "numpy" in maps
    assert "tenseal" not in maps
    assert "sealapi" not in maps


def test_one_attack_a_round_and_every_sum_is_right(consortium: Consortium, jobs: dict[str, str]) -> None:
    job_id = jobs["script"]
    assert consortium.wait(job_id, timeout=300) == "FINISHED:COMPLETED"
    journal = rounds(consortium, job_id)["rounds"]
    for (attack, lie, name), one in zip(SCRIPT, journal, strict=True):
        assert one["contributors"] == list(contributors(attack, lie)), (attack, lie)
        assert one["sites"][CHEATER]["refused"] == (None if lie == "twice" else name), (attack, lie)
    for site in HONEST:
        given = means(consortium, site, job_id)
        for step, (attack, lie, _) in enumerate(SCRIPT):
            for tensor, values in expected(contributors(attack, lie), step).items():
                assert np.abs(np.array(given[step + 1][tensor]) - values).max() < 1e-6, (site, attack, lie)
    # The cheater, and victim of the server's last lies, ends with the model that all have.
    ours, theirs = model(consortium, SITES[0], job_id), model(consortium, CHEATER, job_id)
    for tensor in SHAPES:
        assert np.abs(ours[tensor] - theirs[tensor]).max() < 1e-5
    assert "duplicate_site: hospital-a has contributed" in consortium.log("localhost")
    assert "every site refused the second set" in consortium.log("localhost")
    assert audited(consortium, CHEATER, job_id) >= NAMED_AT_THE_CHEATER
    for site in SITES:
        assert audited(consortium, site, job_id) >= NAMED_EVERYWHERE, site


@pytest.mark.parametrize("what", FATAL)
def test_what_nobody_can_get_past_stops_the_job(consortium: Consortium, jobs: dict[str, str], what: str) -> None:
    job_id, named = jobs[what], FATAL[what][2]
    assert consortium.wait(job_id) not in ("FINISHED:COMPLETED", "FINISHED:OK")
    assert rounds(consortium, job_id)["phase"] == "failed"
    for site in HONEST:
        assert named in audited(consortium, site, job_id), f"{site} did not name it"
        assert not (consortium.kit(site) / job_id / "got.json").exists(), "a sum was opened"
