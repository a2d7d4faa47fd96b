"""From a sum to the weighted mean: unpack, decrypt, unmask, check the proofs, decode. No state."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from secure_aggregation import encoding, masks, packing
from secure_aggregation.encoding import Mean
from secure_aggregation.epoch import ReadyEpoch
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.parameters import DEGREE
from secure_aggregation.rounds import Sum
from secure_aggregation.sealing import Timings


@dataclass(frozen=True)
class Opened:
    """A sum that was opened and proven to be of the named sites.

    Attributes
    ----------
    step
        Which sum.
    tensors
        By tensor name, float32: the model's step, which is the weighted mean if no other optimiser is set; with full
        weights the mean.
    weight
        Sum of the contributors' weights.
    contributors
        Their names.
    noise_budget
        Bits of noise budget left in the sum; 0 when masks alone protect it.
    """

    step: int
    tensors: dict[str, npt.NDArray[np.float32]] = field(repr=False)
    weight: float
    contributors: tuple[str, ...]
    noise_budget: int


def open_sum(epoch: ReadyEpoch, total: Sum, size: int, timings: Timings) -> tuple[Mean, int]:
    """Open the sum of vectors of ``size`` values.

    Returns
    -------
    tuple
        The mean, and the bits of noise budget that were left (0 without homomorphic encryption).

    Raises
    ------
    ProtocolError
        ``layout_differs``, ``missing_shares``, ``wrong_sum``.
    """
    parameters = epoch.parameters
    if total.ciphertexts != encoding.ciphertexts(size, parameters):
        raise ProtocolError(Reason.LAYOUT_DIFFERS, "the sum has another length than this site's tensors")
    start = time.perf_counter()
    if epoch.cipher is None:
        slots, budget = packing.unpack_words(total.payload, parameters.plain_bytes).reshape(-1, DEGREE), 0
    else:
        c0 = packing.unpack_residues(total.payload, parameters.ring, DEGREE)
        seeds = total.seeds.reshape(len(total.contributors), total.ciphertexts, -1)
        slots, budget = epoch.cipher.decrypt(seeds, c0)
    if parameters.encryption.masks:
        own, dropped = masks.reconstruct(epoch.roster.sites, total.contributors, total.revealed)
        keys = {site: member.mask_key for site, member in epoch.roster.members.items()}
        context = epoch.around(total.step).context
        masks.unmask(slots, total.contributors, own, dropped, keys, context, parameters.plain_bits)
    mean = encoding.decode(slots, size, total.contributors, epoch.around(total.step), parameters)
    timings.measure("open", start)
    return mean, budget
