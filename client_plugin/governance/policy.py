"""The site's policy: may this job train on this cohort here? A pure decision.

No I/O, no clock, no logging: the same request and policy always give the same decision, so that a data steward
can read this file and know. It does *not* protect against a hospital's own administrator, who can edit the policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from client_plugin.config import GovernanceConfig


class Rule(StrEnum):
    """The rule that decided."""

    ALLOWED = "allowed"
    JOB_NOT_ALLOWED = "job_not_allowed"
    JOB_CONTENT_NOT_ALLOWED = "job_content_not_allowed"
    COHORT_TOO_SMALL = "cohort_too_small"
    ENCRYPTION_TOO_WEAK = "encryption_too_weak"
    PRECISION_TOO_COARSE = "precision_too_coarse"
    TOO_FEW_SITES = "too_few_sites"


@dataclass(frozen=True)
class TrainingRequest:
    """What a job asks of a hospital.

    Attributes
    ----------
    job
        Name of the job in its meta.json.
    digest
        Of its content (`client_plugin.governance.job_content`).
    patients
        Patients in the frozen cohort: the unit of privacy is the patient.
    encryption
        How the update will be protected ("he+masks", "he", "masks"); "none" is never acceptable.
    bits
        Fixed-point bits per value.
    min_sites
        The number of sites the job will wait for before it adds anything up.
    """

    job: str
    digest: str
    patients: int
    encryption: str
    bits: int
    min_sites: int


@dataclass(frozen=True)
class Decision:
    """Yes or no, by which rule, and why, in words for the job's log and for the data steward."""

    allowed: bool
    rule: Rule
    reason: str


def decide(request: TrainingRequest, policy: GovernanceConfig) -> Decision:
    """Decide whether ``request`` is within ``policy``. A job may be stricter than the policy, never laxer."""
    if request.job not in policy.jobs:
        return _refuse(
            Rule.JOB_NOT_ALLOWED,
            f"job {request.job!r} is not on this site's list ({', '.join(policy.jobs) or 'empty'})",
        )
    if policy.job_digests and request.digest not in policy.job_digests:
        return _refuse(
            Rule.JOB_CONTENT_NOT_ALLOWED,
            f"job {request.job!r} has a content that this site has not allowed: {request.digest}; "
            "read its folder, then list this digest in governance.job_digests",
        )
    if request.patients < policy.min_patients:
        # The exact size of a small cohort is itself worth protecting.
        return _refuse(Rule.COHORT_TOO_SMALL, f"the cohort has fewer than {policy.min_patients} patients")
    if request.encryption not in policy.encryption:
        return _refuse(
            Rule.ENCRYPTION_TOO_WEAK,
            f"encryption {request.encryption!r} is not accepted here ({', '.join(policy.encryption)})",
        )
    if request.bits < policy.min_bits:
        return _refuse(Rule.PRECISION_TOO_COARSE, f"{request.bits} bits are below this site's {policy.min_bits}")
    if request.min_sites < policy.min_sites:
        return _refuse(
            Rule.TOO_FEW_SITES, f"the job adds up {request.min_sites} sites; this site needs {policy.min_sites}"
        )
    return Decision(True, Rule.ALLOWED, "within the site's policy")


def _refuse(rule: Rule, reason: str) -> Decision:
    return Decision(False, rule, reason)
