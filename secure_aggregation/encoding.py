"""One update as slots: fixed-point fields, then five slots that prove what a sum is a sum of.

A weighted update ``w*x`` becomes ``u = round(x * w' * B / clip) + B`` in each field, ``w'`` the weight over its bound
in 30-bit fixed point. After ``L`` slots of values come:

=========  ====================================================================================
slot       content
=========  ====================================================================================
L          1: the sum counts the contributors
L + 1      ``w' * 2**30``
L + 2      the site's tag of this round, a number below ``P = 2**31 - 1`` keyed by the hospitals' group key
L + 3, 4   two checks: ``sum_j r_j * (slot_j mod P) mod P`` over all slots before, ``r`` from the group key and the
round
=========  ====================================================================================

All of it is linear, so the sum carries the sum of the proofs. A server without the group key that drops, repeats,
swaps, replays or changes anything passes with probability about ``2**-62``. The random multiple hides whether the sum
of the sites' checks passed ``P``, which is the one thing that would tell more of them than their sum.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.keys import derive, stream, tag
from secure_aggregation.layout import Vector
from secure_aggregation.parameters import DEGREE, Parameters

PRIME = (1 << 31) - 1
WEIGHT_ONE = 1 << 30
TRAILER = 5
_CHECKS = 2
_CHUNK = 1 << 18

Slots = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Round:
    """What a sum belongs to; part of every key derived for it.

    Attributes
    ----------
    group
        The hospitals' group key, 32 bytes.
    transcript
        Hash of the ceremony.
    step
        Number of the sum in its job.
    """

    group: bytes
    transcript: bytes
    step: int

    @property
    def context(self) -> bytes:
        return self.transcript + self.step.to_bytes(8, "big")

    def site_tag(self, site: str) -> int:
        """The number a site adds to the sum."""
        digest = tag(self.group, "site tag", self.context + site.encode())
        return int.from_bytes(digest, "big") % PRIME

    def multipliers(self, check: int, size: int) -> Slots:
        """``r_j`` of one check: uint64 below 2**31."""
        key = derive(self.group, f"check {check}", self.context)
        return (stream(key, 4 * size).view("<u4") >> np.uint32(1)).astype(np.uint64)


@dataclass(frozen=True)
class Mean:
    """An opened sum.

    Attributes
    ----------
    vector
        Weighted mean, float32.
    weight
        Sum of the weights.
    """

    vector: Vector
    weight: float


def value_slots(size: int, parameters: Parameters) -> int:
    """Slots that hold ``size`` values."""
    return -(-size // parameters.fields)


def ciphertexts(size: int, parameters: Parameters) -> int:
    """Polynomials of ``DEGREE`` slots that hold ``size`` values and the proofs."""
    return -(-(value_slots(size, parameters) + TRAILER) // DEGREE)


def encode(
    vector: Vector,
    weight: float,
    site: str,
    around: Round,
    parameters: Parameters,
    blind: Callable[[int], int] = secrets.randbelow,
) -> tuple[Slots, int]:
    """Clip, fix the point, pack, prove.

    Parameters
    ----------
    blind
        Draws the number below its argument that a check is blinded with; replaced for known-answer tests only.

    Returns
    -------
    tuple
        Slots, uint64 ``(ciphertexts, DEGREE)``, and how many values the clipping changed.

    Raises
    ------
    ProtocolError
        ``not_finite``: a NaN, an infinity, or a weight out of ``(0, max_weight]``.
    """
    if not 0 < weight <= parameters.max_weight:
        raise ProtocolError(
            Reason.NOT_FINITE,
            f"weight {weight} is not in (0, max_weight {parameters.max_weight}]: raise the job's max_weight",
        )
    fixed_weight = max(1, round(weight / parameters.max_weight * WEIGHT_ONE))
    scale = parameters.bound / parameters.clip * (fixed_weight / WEIGHT_ONE)
    length = value_slots(vector.size, parameters)
    slots = np.zeros(ciphertexts(vector.size, parameters) * DEGREE, np.uint64)
    clipped = 0
    for part in range(parameters.fields):
        # Field f of slot j is value f*L + j: contiguous reads, no strides.
        values = vector[part * length : (part + 1) * length]
        shift = np.uint64(part * parameters.width)
        for start in range(0, length, _CHUNK):
            chunk = values[start : start + _CHUNK]
            if not np.isfinite(chunk).all():
                raise ProtocolError(Reason.NOT_FINITE, "the update holds NaN or infinity: lower the learning rate")
            bounded = np.clip(chunk, -parameters.clip, parameters.clip)
            clipped += int(np.count_nonzero(bounded != chunk))
            whole = np.rint(bounded.astype(np.float64) * scale).astype(np.int64) + parameters.bound
            slots[start : start + chunk.size] |= whole.astype(np.uint64) << shift
    slots[length] = 1
    slots[length + 1] = fixed_weight
    slots[length + 2] = around.site_tag(site)
    room = 1 << _blind_bits(parameters)
    blinds = np.array([blind(room) for _ in range(_CHECKS)], np.uint64)
    slots[length + 3 : length + 3 + _CHECKS] = _checks(slots[: length + 3], around) + blinds * np.uint64(PRIME)
    return slots.reshape(-1, DEGREE), clipped


def decode(slots: Slots, size: int, contributors: Iterable[str], around: Round, parameters: Parameters) -> Mean:
    """Check the proofs of an opened sum and take the weighted mean.

    Raises
    ------
    ProtocolError
        ``wrong_sum``: not the sum of exactly one update of each of ``contributors`` in this round.
    """
    sites = list(contributors)
    length = value_slots(size, parameters)
    flat = slots.reshape(-1)
    if len(sites) > parameters.sites or flat.size != ciphertexts(size, parameters) * DEGREE:
        raise ProtocolError(Reason.WRONG_SUM, "more contributors, or another length, than agreed")
    trailer = [int(n) for n in flat[length : length + TRAILER]]
    checks = [int(n) for n in _checks(flat[: length + 3], around)]
    if (
        trailer[0] != len(sites)
        or trailer[2] != sum(around.site_tag(site) for site in sites)
        or [n % PRIME for n in trailer[3:]] != checks
        or flat[length + TRAILER :].any()
        or trailer[1] < len(sites)
    ):
        raise ProtocolError(
            Reason.WRONG_SUM,
            "the sum is not that of the named sites in this round (wrong key, changed, replayed or mixed)",
        )
    vector = np.empty(length * parameters.fields, np.float32)
    mask = np.uint64((1 << parameters.width) - 1)
    factor = parameters.clip / parameters.bound / (trailer[1] / WEIGHT_ONE)
    for part in range(parameters.fields):
        shift = np.uint64(part * parameters.width)
        for start in range(0, length, _CHUNK):
            end = min(start + _CHUNK, length)
            field = ((flat[start:end] >> shift) & mask).astype(np.int64) - len(sites) * parameters.bound
            vector[part * length + start : part * length + end] = field * factor
    return Mean(vector[:size], trailer[1] / WEIGHT_ONE * parameters.max_weight)


def _blind_bits(parameters: Parameters) -> int:
    """Bits of a check's blind: as many as keep the sum of all checks below ``t``."""
    return parameters.plain_bits - 31 - math.ceil(math.log2(parameters.sites))


def _checks(slots: Slots, around: Round) -> Slots:
    reduced = slots % np.uint64(PRIME)
    sums = []
    for check in range(_CHECKS):
        products = reduced * around.multipliers(check, slots.size) % np.uint64(PRIME)
        # Fewer than 2**33 products of 31 bits: the sum stays below 2**64.
        sums.append(int(products.sum()) % PRIME)
    return np.array(sums, np.uint64)
