"""Everything that can go wrong in the protocol, by name.

Both halves of the protocol raise :class:`ProtocolError` and nothing else for what the other side did.
The name of the reason is what a log line, a metric label and a test may show; the text never holds a key,
a tensor or anything of a patient.
"""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """The closed list of refusals. Values are used as metric labels."""

    MALFORMED = "malformed"
    TRUNCATED = "truncated"
    TAMPERED = "tampered"
    WRONG_JOB = "wrong_job"
    WRONG_EPOCH = "wrong_epoch"
    WRONG_ROUND = "wrong_round"
    REPLAY = "replay"
    DUPLICATE_SITE = "duplicate_site"
    UNKNOWN_SITE = "unknown_site"
    BAD_CERTIFICATE = "bad_certificate"
    BAD_SIGNATURE = "bad_signature"
    SPLIT_VIEW = "split_view"
    PARAMETERS_DIFFER = "parameters_differ"
    LAYOUT_DIFFERS = "layout_differs"
    TOO_FEW_SITES = "too_few_sites"
    NOT_FINITE = "not_finite"
    WRONG_KEY = "wrong_key"
    WRONG_SUM = "wrong_sum"
    MISSING_SHARES = "missing_shares"
    SECOND_REVEAL = "second_reveal"
    OUT_OF_ORDER = "out_of_order"
    MISSED_SUM = "missed_sum"
    MODELS_DIFFER = "models_differ"
    TOO_LITTLE_DATA = "too_little_data"
    UNSUPPORTED = "unsupported"


class ProtocolError(Exception):
    """A message or a request that the protocol refuses.

    Parameters
    ----------
    reason
        Why, from the closed list.
    detail
        What exactly, and what to do about it.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
