from dataclasses import replace

import pytest

from client_plugin.config import GovernanceConfig
from client_plugin.governance.policy import TrainingRequest, decide

DIGEST = "a" * 64
POLICY = GovernanceConfig(
    jobs=("organ-classification",), job_digests=(DIGEST,), min_patients=10, encryption=("he+masks",), min_bits=21
)
GOOD = TrainingRequest("organ-classification", DIGEST, patients=10, encryption="he+masks", bits=21, min_sites=3)


def test_a_job_at_the_floor_is_allowed() -> None:
    assert decide(GOOD, POLICY).allowed


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"job": "another"}, "job_not_allowed"),
        ({"digest": "b" * 64}, "job_content_not_allowed"),
        ({"patients": 9}, "cohort_too_small"),
        ({"encryption": "he"}, "encryption_too_weak"),
        ({"encryption": "none"}, "encryption_too_weak"),
        ({"bits": 16}, "precision_too_coarse"),
        ({"min_sites": 2}, "too_few_sites"),
    ],
)
def test_a_laxer_job_is_refused_by_its_rule(change: dict[str, object], rule: str) -> None:
    decision = decide(replace(GOOD, **change), POLICY)  # type: ignore[arg-type]
    assert (decision.allowed, decision.rule) == (False, rule)


def test_a_small_cohorts_size_is_not_told() -> None:
    assert "7" not in decide(replace(GOOD, patients=7), POLICY).reason


def test_without_digests_the_name_alone_decides() -> None:
    assert decide(replace(GOOD, digest="b" * 64), POLICY.model_copy(update={"job_digests": ()})).allowed
