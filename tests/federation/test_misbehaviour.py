"""Every attack of the protocol's list through real NVFlare processes: detected, named, never a wrong sum."""

from __future__ import annotations

import numpy as np
import pytest

from tests.federation.conftest import SITES
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.federation.numpy_executor import SHAPES
from tests.federation.outcomes import expected, means, model, rounds

pytestmark = pytest.mark.federation

CHEATER = "hospital-d"
HONEST = SITES[:3]

# By round: what hospital-d does, what the server does, and the name under which the server refuses hospital-d's update.
SCRIPT: list[tuple[str, str, str | None]] = [
    ("", "twice", "duplicate_site"),
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
NAMED_AT_THE_CHEATER = ("layout_differs", "not_finite", "wrong_sum")
NAMED_EVERYWHERE = ("second_reveal", "wrong_round", "replay", "wrong_job")


def contributors(attack: str, lie: str) -> tuple[str, ...]:
    return HONEST if attack or lie in ("sum of one", "fewer names") else SITES


def test_one_attack_a_round_and_every_sum_is_right(consortium: Consortium) -> None:
    before = {site: len(consortium.log(site)) for site in (*SITES, "localhost")}
    executor = {"misbehave": {CHEATER: [attack for attack, _, _ in SCRIPT]}}
    server = {"lies": [lie for _, lie, _ in SCRIPT], "num_rounds": len(SCRIPT)}
    job_id = consortium.submit(*job("he+masks", executor=executor, server=server))
    assert consortium.wait(job_id) == "FINISHED:COMPLETED"
    journal = rounds(consortium, job_id)["rounds"]
    for (attack, lie, name), one in zip(SCRIPT, journal, strict=True):
        assert one["contributors"] == list(contributors(attack, lie)), (attack, lie)
        if lie != "twice":
            assert one["sites"][CHEATER]["refused"] == name, (attack, lie)
    for site in HONEST:
        given = means(consortium, site, job_id)
        for step, (attack, lie, _) in enumerate(SCRIPT):
            for tensor, values in expected(contributors(attack, lie), step).items():
                assert np.abs(np.array(given[step + 1][tensor]) - values).max() < 1e-6, (site, attack, lie)
    # The cheater, and victim of the server's last lies, ends with the model that all have.
    ours, theirs = model(consortium, SITES[0], job_id), model(consortium, CHEATER, job_id)
    for tensor in SHAPES:
        assert np.abs(ours[tensor] - theirs[tensor]).max() < 1e-5
    said = {site: consortium.log(site)[start:] for site, start in before.items()}
    assert "duplicate_site" in said["localhost"]
    assert "every site refused the second set" in said["localhost"]
    assert all(name in said[CHEATER] for name in NAMED_AT_THE_CHEATER)
    for site in SITES:
        assert all(name in said[site] for name in NAMED_EVERYWHERE), site
        audits = [log.read_text() for log in consortium.kit(site).rglob("audit.log")]
        assert any("second_reveal" in audit for audit in audits), site


@pytest.mark.parametrize(
    ("attack", "lie", "named"),
    [
        ("other key", "", "wrong_sum"),  # sealed with another key than the others'
        ("no shares", "", "wrong_key"),  # its boxes hold no shares of its mask
        ("", "sum", "wrong_sum"),  # the server changes the sum
        ("", "middle", "bad_signature"),  # the server puts its own key into the ceremony
    ],
)
def test_what_nobody_can_get_past_stops_the_job(consortium: Consortium, attack: str, lie: str, named: str) -> None:
    before = {site: len(consortium.log(site)) for site in SITES}
    executor = {"misbehave": {CHEATER: [attack]}}
    lies = ["middle"] * 2 if lie == "middle" else ["", lie]
    job_id = consortium.submit(*job("he+masks", executor=executor, server={"lies": lies}))
    assert consortium.wait(job_id) not in ("FINISHED:COMPLETED", "FINISHED:OK")
    assert rounds(consortium, job_id)["phase"] == "failed"
    for site in HONEST:
        assert named in consortium.log(site)[before[site] :], f"{site} did not name it"
        assert not (consortium.kit(site) / job_id / "got.json").exists(), "a sum was opened"
