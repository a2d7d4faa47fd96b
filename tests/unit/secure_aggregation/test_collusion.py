"""What the server and all hospitals but two can learn of these two: their sum.

By construction: the adversary has the homomorphic key, the group key, every other site's keys, and all that the two
honest sites revealed. All that it lacks is the mask that the two share. For any other pair of updates with the same
sum there is exactly one other value of that mask, as likely as the first, under which every number of the adversary's
view is the same.
"""

from __future__ import annotations

import numpy as np
import pytest

from secure_aggregation import encoding, masks
from secure_aggregation.parameters import Encryption, choose

SITES = ["hospital-a", "hospital-b", "hospital-c", "hospital-d"]
HONEST = ("hospital-b", "hospital-c")
AROUND = encoding.Round(b"g" * 32, b"t" * 32, 3)


def view(updates: dict[str, np.ndarray], blinds: dict[str, list[int]], shared: np.ndarray) -> dict[str, list[int]]:
    """The honest sites' masked slots with ``shared`` as the mask between the two, everything else as in the protocol.

    This is what the adversary has of them once it has taken the homomorphic encryption off with a colluding
    hospital's key.
    """
    parameters = choose(Encryption.HE_AND_MASKS, sites=4, bits=24, clip=1.0, max_weight=1.0)
    modulus = np.uint64((1 << parameters.plain_bits) - 1)
    agreements = {site: masks.mask_agreement(site.encode().ljust(16)) for site in SITES}
    seen = {}
    for site in HONEST:
        draws = iter(blinds[site])
        slots, _ = encoding.encode(updates[site], 1.0, site, AROUND, parameters, blind=lambda _, d=draws: next(d))
        known = {peer: agreements[peer].public for peer in SITES if peer not in HONEST}
        masks.mask(slots, site, agreements[site], known, b"o" * 16, AROUND.context, parameters.plain_bits)
        flat = slots.reshape(-1)
        seen[site] = ((flat + shared if site == HONEST[0] else flat - shared) & modulus).tolist()
    return seen


@pytest.mark.parametrize("seed", range(5))
def test_other_updates_with_the_same_sum_give_the_same_view(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parameters = choose(Encryption.HE_AND_MASKS, sites=4, bits=24, clip=1.0, max_weight=1.0)
    grid = 1.0 / parameters.bound
    # Multiples of the fixed-point step, so that "the same sum" is exact.
    step = {site: rng.integers(-parameters.bound // 2, parameters.bound // 2, 1000) for site in HONEST}
    move = rng.integers(-parameters.bound // 2, parameters.bound // 2, 1000)
    first = {site: (step[site] * grid).astype(np.float32) for site in HONEST}
    other = {
        HONEST[0]: ((step[HONEST[0]] + move) * grid).astype(np.float32),
        HONEST[1]: ((step[HONEST[1]] - move) * grid).astype(np.float32),
    }
    shared = rng.integers(0, 1 << parameters.plain_bits, 4096, dtype=np.uint64)
    blinds = {site: [1000, 1000] for site in HONEST}
    seen = view(first, blinds, shared)

    clear = view(other, blinds, np.zeros(4096, np.uint64))
    wanted = (np.array(seen[HONEST[0]], np.uint64) - np.array(clear[HONEST[0]], np.uint64)) & np.uint64(
        (1 << parameters.plain_bits) - 1
    )
    again = view(other, blinds, wanted)
    assert again[HONEST[0]] == seen[HONEST[0]]
    # The second site's numbers follow, but for the carry of the two checks, which the blinds hide.
    length = encoding.value_slots(1000, parameters)
    difference = [
        (a - b) % (1 << parameters.plain_bits) for a, b in zip(again[HONEST[1]], seen[HONEST[1]], strict=True)
    ]
    assert not any(difference[: length + 3])
    assert not any(difference[length + 5 :])
    carries = [d if d < 1 << 40 else d - (1 << parameters.plain_bits) for d in difference[length + 3 : length + 5]]
    assert all(carry % encoding.PRIME == 0 and abs(carry) <= encoding.PRIME for carry in carries)
    blinds[HONEST[1]] = [1000 - carry // encoding.PRIME for carry in carries]
    assert view(other, blinds, wanted) == seen


def test_the_blinds_leave_room_for_every_site() -> None:
    for sites in (3, 10, 128):
        for bits in (16, 21, 24):
            parameters = choose(Encryption.HE_AND_MASKS, sites=sites, bits=bits, clip=1.0, max_weight=1.0)
            room = encoding._blind_bits(parameters)
            assert room >= 1
            assert sites * ((1 << room) * encoding.PRIME + encoding.PRIME) <= 1 << (parameters.plain_bits + 1)
            assert sites * (((1 << room) - 1) * encoding.PRIME + encoding.PRIME - 1) < 1 << parameters.plain_bits
