"""Shamir's secret sharing of 16-byte secrets over GF(2^128).

Splitting is PyCryptodome's. Putting together is done here over the same field, because PyCryptodome computes the
Lagrange coefficients anew for every secret: with 100 sites an opening puts 100 secrets together from the same 51
shares, and the coefficients depend only on who gave them. A test compares both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from Crypto.Protocol.SecretSharing import Shamir

from secure_aggregation.errors import ProtocolError, Reason

SECRET_BYTES = 16
_POLYNOMIAL = (1 << 128) | 0b10000111  # x^128 + x^7 + x^2 + x + 1, as PyCryptodome has it


def threshold(sites: int) -> int:
    """Shares that are needed: more than half of the sites, so that no two disjoint groups can open different
    secrets.
    """
    return sites // 2 + 1


def split(secret: bytes, sites: int) -> list[bytes]:
    """One share for each site, in order; the share's abscissa is its place, counted from 1."""
    return [bytes(share) for _, share in Shamir.split(threshold(sites), sites, secret)]


def combine(shares: Mapping[int, bytes], coefficients: Mapping[int, int]) -> bytes:
    """The secret from shares by place, with :func:`lagrange` of the same places.

    Raises
    ------
    ProtocolError
        ``missing_shares``: a share is missing or has another length.
    """
    total = 0
    for place, coefficient in coefficients.items():
        share = shares.get(place, b"")
        if len(share) != SECRET_BYTES:
            raise ProtocolError(Reason.MISSING_SHARES, f"no share of site number {place}")
        total ^= _multiply(int.from_bytes(share, "big"), coefficient)
    return total.to_bytes(SECRET_BYTES, "big")


@lru_cache(maxsize=8)
def lagrange(places: tuple[int, ...]) -> Mapping[int, int]:
    """Coefficients of the interpolation at zero."""
    numerators, denominators = [], []
    for i in places:
        numerator = denominator = 1
        for j in places:
            if i != j:
                numerator = _multiply(numerator, j)
                denominator = _multiply(denominator, i ^ j)
        numerators.append(numerator)
        denominators.append(denominator)
    pairs = zip(numerators, _inverses(denominators), strict=True)
    return MappingProxyType({i: _multiply(n, inverse) for i, (n, inverse) in zip(places, pairs, strict=True)})


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        b >>= 1
        a <<= 1
        if a >> 128:
            a ^= _POLYNOMIAL
    return product


def _inverses(values: list[int]) -> list[int]:
    """All inverses for the price of one (Montgomery): an inversion costs as much as 250 multiplications."""
    before = [1]
    for value in values:
        before.append(_multiply(before[-1], value))
    rest = _inverse(before[-1])
    found = []
    for product, value in zip(reversed(before[:-1]), reversed(values), strict=True):
        found.append(_multiply(rest, product))
        rest = _multiply(rest, value)
    return found[::-1]


def _inverse(a: int) -> int:
    """``a ** (2**128 - 2)``."""
    result, power = 1, a
    for _ in range(127):
        power = _multiply(power, power)
        result = _multiply(result, power)
    return result
