"""From a vector to an update's parts: encode, mask, encrypt, pack. No state; what must be kept is in the answer."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secure_aggregation import encoding, masks, packing, revealing, shamir
from secure_aggregation.epoch import ReadyEpoch
from secure_aggregation.layout import Vector

Bytes = npt.NDArray[np.uint8]


@dataclass
class Timings:
    """Seconds and bytes of the last update and the last opening, for metrics."""

    seconds: dict[str, float] = field(default_factory=dict)
    update_bytes: int = 0
    clipped_values: int = 0

    def measure(self, step: str, start: float) -> float:
        """Keep the time since ``start``; the answer is now."""
        now = time.perf_counter()
        self.seconds[step] = now - start
        return now


@dataclass(frozen=True)
class Sealed:
    """An update's parts.

    Attributes
    ----------
    boxes
        With masks: the sealed shares of the own mask for the other sites, in order.
    own_share
        With masks: this site's own share of its own mask.
    """

    ciphertexts: int
    seeds: Bytes
    payload: Bytes
    boxes: bytes
    own_share: bytes


def seal(epoch: ReadyEpoch, step: int, vector: Vector, weight: float, timings: Timings) -> Sealed:
    """Seal one vector for the sum ``step``.

    Raises
    ------
    ProtocolError
        ``not_finite``.
    """
    parameters = epoch.parameters
    start = time.perf_counter()
    slots, timings.clipped_values = encoding.encode(vector, weight, epoch.site, epoch.around(step), parameters)
    start = timings.measure("encode", start)
    boxes, own_share = _mask(epoch, slots, step) if parameters.encryption.masks else (b"", b"")
    start = timings.measure("mask", start)
    seeds = np.empty(0, np.uint8)
    if epoch.cipher is None:
        payload = packing.pack_words(slots, parameters.plain_bytes)
    else:
        seeds, c0 = epoch.cipher.encrypt(slots)
        start = timings.measure("encrypt", start)
        payload = packing.pack_residues(c0, parameters.ring)
    timings.measure("serialize", start)
    return Sealed(len(slots), seeds.reshape(-1), payload, boxes, own_share)


def _mask(epoch: ReadyEpoch, slots: encoding.Slots, step: int) -> tuple[bytes, bytes]:
    """Mask in place; the answer is the boxes and the own share."""
    own = secrets.token_bytes(shamir.SECRET_BYTES)
    shares = dict(zip(epoch.roster.sites, shamir.split(own, len(epoch.roster.sites)), strict=True))
    peers = {site: epoch.roster.members[site].mask_key for site in epoch.others()}
    context = epoch.around(step).context
    masks.mask(slots, epoch.site, epoch.mask_keys, peers, own, context, epoch.parameters.plain_bits)
    purpose = revealing.box_purpose(step)
    return b"".join(epoch.box(site, shares[site], purpose) for site in epoch.others()), shares[epoch.site]
