"""Choosing the parameters of a sum, and proving that it can neither overflow nor lose to noise.

Notation: ``n`` polynomial degree, ``q`` ciphertext modulus (product of the data primes), ``t = 2**(fields*width)``
plaintext modulus, ``N`` number of sites.

*Fields.* A value is a fixed-point number of ``bits`` bits, ``0 <= u <= 2B`` with ``B = 2**(bits-1) - 1``. ``N`` of
them add up to at most ``N * 2B < 2**width`` when ``width = bits + ceil(log2 N)``, so a field never carries into its
neighbour.

*Noise.* SEAL's symmetric BFV ciphertext has ``c0 + c1*s = round(q*m/t) + e`` with ``|e| <= 21`` (centred binomial, 21
pairs of bits) and a rounding of at most 1/2. The sum of ``N`` decrypts correctly when ``N * (21 + 1/2 + 1/2) < q /
(2t)``: the second 1/2 covers the rounding of ``k*q`` when the sum of masked plaintexts passes ``t``. This is a bound
on the worst case, not an estimate.

*Security.* The homomorphic encryption standard (Albrecht et al., 2018, table 1, ternary secret, classical 128 bit)
limits ``log2 q`` for each ``n``. The check counts SEAL's special prime as well, although no key-switching key is ever
published and so no sample modulo the larger modulus exists.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from secure_aggregation.errors import ProtocolError, Reason

STANDARD_128 = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
"""Largest log2 q for 128-bit classical security with a ternary secret, by polynomial degree."""

DEGREE = 4096
MAX_SITES = 128
RINGS = ((48,), (56,), (60,), (32, 32), (36, 36))
"""Sizes of the data primes to choose from. One prime costs half of two; SEAL takes primes of at most 60 bits."""

MAX_PLAIN_BITS = 59
"""SEAL takes a plaintext modulus of at most 60 bits, and 2**59 has 60."""

MIN_PLAIN_BITS = 40
"""A slot must hold the sum of ``MAX_SITES`` numbers of 31 bits."""

ERROR_BOUND = 21 + 1
"""Worst case of error and rounding that one ciphertext adds to the sum, in units of the ciphertext modulus."""

MIN_SITES_MASKS = 3
PRECISIONS = (16, 21, 24)


class Encryption(StrEnum):
    """Which locks are on."""

    HE = "he"
    MASKS = "masks"
    HE_AND_MASKS = "he+masks"

    @property
    def he(self) -> bool:
        """Lock one: homomorphic encryption."""
        return self is not Encryption.MASKS

    @property
    def masks(self) -> bool:
        """Lock two: masks that cancel in the sum."""
        return self is not Encryption.HE


@dataclass(frozen=True)
class Parameters:
    """The parameters of every sum of one epoch.

    Attributes
    ----------
    encryption
        Which locks are on.
    sites
        Number of sites ``N`` that the headroom is made for.
    bits
        Bits of one fixed-point value as asked for.
    value_bits
        Bits it really has: less than ``bits`` only with so many sites that the headroom needs them.
    fields, width
        Fields in a slot, and bits of each.
    ring
        Sizes in bits of the primes that make up ``q``; their sum is a ciphertext coefficient's size on the wire. Empty
        when only masks protect the sum.
    clip
        Bound on the absolute value of a tensor's element.
    max_weight
        Bound on a site's weight.
    """

    encryption: Encryption
    sites: int
    bits: int
    value_bits: int
    fields: int
    width: int
    ring: tuple[int, ...]
    clip: float
    max_weight: float

    @property
    def plain_bits(self) -> int:
        """log2 t: a slot holds numbers modulo ``2**plain_bits``."""
        return self.fields * self.width

    @property
    def bound(self) -> int:
        """``B``: the largest absolute fixed-point value."""
        return (1 << (self.value_bits - 1)) - 1

    @property
    def coefficient_bits(self) -> int:
        """Bits of one packed ciphertext coefficient."""
        return sum(self.ring)

    @property
    def key_ring(self) -> tuple[int, ...]:
        """Sizes of the data primes and of SEAL's special prime, which is never used and only counts for security."""
        return *self.ring, max(20, min(self.ring[-1] + 1, STANDARD_128[DEGREE] - self.coefficient_bits))

    @property
    def primes(self) -> tuple[int, ...]:
        """The data primes: the largest of their size that are 1 modulo 2n, ascending, as SEAL chooses and orders
        them.
        """
        return _primes(self.ring[0], len(self.ring)) if self.ring else ()

    @property
    def bits_per_value(self) -> float:
        """Bits on the wire for one tensor element."""
        if self.encryption.he:
            return self.coefficient_bits / self.fields
        return self.plain_bytes * 8 / self.fields

    @property
    def plain_bytes(self) -> int:
        """Bytes of one slot on the wire when masks alone protect it."""
        return -(-self.plain_bits // 8)


def _is_prime(n: int) -> bool:
    """Miller-Rabin with bases that are exact below 3.3e24 (Sorenson and Webster, 2015)."""
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41):
        x = pow(base, odd, n)
        if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(twos - 1)):
            return False
    return True


@lru_cache
def _primes(bits: int, count: int) -> tuple[int, ...]:
    step = 2 * DEGREE
    found = (n for n in range(((1 << bits) - 1) // step * step + 1, 0, -step) if _is_prime(n))
    return tuple(sorted(itertools.islice(found, count)))


def _headroom(sites: int) -> int:
    """Bits that the sum of ``sites`` equal fields needs above one field."""
    return math.ceil(math.log2(sites))


def _noise_fits(ring: tuple[int, ...], plain_bits: int, sites: int) -> bool:
    """Whether the worst-case noise of ``sites`` ciphertexts stays below half a plaintext step."""
    return sites * ERROR_BOUND << (plain_bits + 1) < math.prod(_primes(ring[0], len(ring)))


def _ring(plain_bits: int, sites: int) -> tuple[int, ...] | None:
    """The smallest ring that has room for the noise, and whose residues add up in 64-bit words."""
    return next((r for r in RINGS if _noise_fits(r, plain_bits, sites) and sites << max(r) <= 1 << 64), None)


def choose(encryption: Encryption, *, sites: int, bits: int, clip: float, max_weight: float) -> Parameters:
    """Choose the smallest parameters that hold the sum of ``sites`` updates.

    Raises
    ------
    ProtocolError
        ``unsupported``: a precision, a number of sites or a bound out of range; ``too_few_sites``: masks need three.
    """
    if bits not in PRECISIONS:
        raise ProtocolError(Reason.UNSUPPORTED, f"bits is {bits}: give one of {', '.join(map(str, PRECISIONS))}")
    if not (math.isfinite(clip) and clip > 0 and math.isfinite(max_weight) and max_weight > 0):
        raise ProtocolError(Reason.UNSUPPORTED, "clip and max_weight must be finite and above zero")
    if sites > MAX_SITES:
        raise ProtocolError(Reason.UNSUPPORTED, f"{sites} sites: at most {MAX_SITES} fit in a field")
    least = MIN_SITES_MASKS if encryption.masks else 2
    if sites < least:
        raise ProtocolError(
            Reason.TOO_FEW_SITES,
            f"{sites} sites with '{encryption}': it needs {least}"
            + ("; with two, each would read the other's update from the sum" if encryption.masks else ""),
        )
    candidates = []
    for fields in (1, 2, 3):
        width = min(bits + _headroom(sites), MAX_PLAIN_BITS // fields)
        value_bits = width - _headroom(sites)
        ring = _ring(fields * width, sites) if encryption.he else ()
        # Below 40 bits a slot could not hold the proofs at the end of the vector.
        if value_bits >= bits - 2 and ring is not None and fields * width >= MIN_PLAIN_BITS:
            cost = (sum(ring) or -(-fields * width // 8) * 8) / fields
            candidates.append((bits - value_bits, cost, fields, width, value_bits, ring))
    _, _, fields, width, value_bits, ring = min(candidates)
    chosen = Parameters(
        encryption=encryption,
        sites=sites,
        bits=bits,
        value_bits=value_bits,
        fields=fields,
        width=width,
        ring=ring,
        clip=clip,
        max_weight=max_weight,
    )
    check(chosen)
    return chosen


def check(parameters: Parameters) -> None:
    """Prove headroom, noise and security of ``parameters`` again, from their definitions.

    Raises
    ------
    ProtocolError
        ``unsupported``: one of the three does not hold.
    """
    p = parameters
    if p.sites * 2 * p.bound >= 1 << p.width or p.plain_bits > MAX_PLAIN_BITS:
        raise ProtocolError(Reason.UNSUPPORTED, f"a sum of {p.sites} values may leave its field of {p.width} bits")
    if p.plain_bits < MIN_PLAIN_BITS or p.sites > MAX_SITES:
        raise ProtocolError(Reason.UNSUPPORTED, f"slots of {p.plain_bits} bits are too small for {p.sites} sites")
    if not p.encryption.he:
        return
    if not _noise_fits(p.ring, p.plain_bits, p.sites):
        raise ProtocolError(Reason.UNSUPPORTED, f"noise of {p.sites} ciphertexts may reach the plaintext")
    if p.sites << max(p.ring) > 1 << 64:
        raise ProtocolError(Reason.UNSUPPORTED, f"{p.sites} residues of {max(p.ring)} bits overflow the server's word")
    if sum(p.key_ring) > STANDARD_128[DEGREE]:
        raise ProtocolError(
            Reason.UNSUPPORTED,
            f"modulus of {sum(p.key_ring)} bits: 128-bit security at degree {DEGREE} ends at {STANDARD_128[DEGREE]}",
        )
