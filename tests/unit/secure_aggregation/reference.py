"""An independent, slow second implementation of the sum, in Python integers: written from docs/secure-aggregation.md.

It shares no code with the package: HKDF and HMAC from ``hashlib``, X25519 from RFC 7748, AES from PyCryptodome,
polynomials as big integers. ``python -m tests.unit.secure_aggregation.reference`` writes the known-answer vectors anew.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

from Crypto.Cipher import AES

VECTORS = Path(__file__).parent / "vectors" / "sums.json"
N = 4096
P = 2**31 - 1
ONE = 2**30


def hkdf(secret: bytes, purpose: str, context: bytes = b"") -> bytes:
    """RFC 5869 with SHA-256, no salt, 32 bytes."""
    info = b"fedpacs/" + purpose.encode() + b"\0" + context
    key = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(key, info + b"\1", "sha256")


def stream(key: bytes, size: int) -> bytes:
    """AES-256-CTR, 128-bit big-endian counter from zero."""
    return AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=0).encrypt(bytes(size))


def x25519(scalar: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5."""
    p = 2**255 - 19
    k = int.from_bytes(scalar, "little")
    k = (k & ~7 & (2**255 - 1)) | 2**254
    u = int.from_bytes(point, "little") & (2**255 - 1)
    x1, x2, z2, x3, z3, swap = u, 1, 0, u, 1, 0
    for t in reversed(range(255)):
        bit = k >> t & 1
        if swap ^ bit:
            x2, x3, z2, z3 = x3, x2, z3, z2
        swap = bit
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        da, cb = d * a % p, c * b % p
        x3, z3 = (da + cb) ** 2 % p, x1 * (da - cb) ** 2 % p
        aa, bb = a * a % p, b * b % p
        e = aa - bb
        x2, z2 = aa * bb % p, e * (aa + 121665 * e) % p
    if swap:
        x2, z2 = x3, z3
    return (x2 * pow(z2, p - 2, p) % p).to_bytes(32, "little")


BASE_POINT = (9).to_bytes(32, "little")


def context(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["transcript"]) + case["step"].to_bytes(8, "big")


def site_tag(case: dict[str, Any], site: str) -> int:
    key = hkdf(bytes.fromhex(case["group"]), "site tag")
    return int.from_bytes(hmac.digest(key, context(case) + site.encode(), "sha256"), "big") % P


def check(case: dict[str, Any], number: int, slots: list[int]) -> int:
    key = hkdf(bytes.fromhex(case["group"]), f"check {number}", context(case))
    words = struct.unpack(f"<{len(slots)}I", stream(key, 4 * len(slots)))
    return sum((word >> 1) * slot for word, slot in zip(words, slots, strict=True)) % P


def encode(case: dict[str, Any], site: str) -> list[int]:
    """One site's slots."""
    bits, width, fields = case["value_bits"], case["width"], case["fields"]
    bound = 2 ** (bits - 1) - 1
    weight = max(1, round(case["weights"][site] / case["max_weight"] * ONE))
    scale = bound / case["clip"] * (weight / ONE)
    values = case["values"][site]
    length = -(-len(values) // fields)
    slots = [0] * length
    for i, value in enumerate(values):
        clipped = min(max(value, -case["clip"]), case["clip"])
        slots[i % length] += (round(clipped * scale) + bound) << (i // length * width)
    slots += [1, weight, site_tag(case, site)]
    blinds = case["blinds"][site]
    slots += [check(case, 0, slots) + blinds[0] * P, check(case, 1, slots) + blinds[1] * P]
    return slots + [0] * (-len(slots) % N)


def words(key: bytes, count: int) -> tuple[int, ...]:
    return struct.unpack(f"<{count}Q", stream(key, 8 * count))


def mask_keys(case: dict[str, Any], site: str) -> tuple[bytes, bytes]:
    private = hkdf(bytes.fromhex(case["mask_seeds"][site]), "mask key")
    return private, x25519(private, BASE_POINT)


def masked(case: dict[str, Any], site: str, slots: list[int]) -> list[int]:
    """Slots plus masks, modulo t."""
    private, public = mask_keys(case, site)
    total = list(slots)
    for peer in case["sites"]:
        if peer == site:
            continue
        theirs = mask_keys(case, peer)[1]
        info = b"".join(sorted((public, theirs))) + context(case)
        pair = words(hkdf(x25519(private, theirs), "pair mask", info), len(slots))
        sign = 1 if site < peer else -1
        total = [s + sign * w for s, w in zip(total, pair, strict=True)]
    own = words(hkdf(bytes.fromhex(case["own_masks"][site]), "own mask", context(case)), len(slots))
    modulus = 1 << (case["fields"] * case["width"])
    return [(s + w) % modulus for s, w in zip(total, own, strict=True)]


def mean(case: dict[str, Any]) -> list[float]:
    """The exact weighted mean, from fractions."""
    weights = {site: Fraction(case["weights"][site]) for site in case["sites"]}
    columns = zip(*(case["values"][site] for site in case["sites"]), strict=True)
    bounded = [[min(max(Fraction(v), -Fraction(case["clip"])), Fraction(case["clip"])) for v in c] for c in columns]
    total = sum(weights.values())
    return [float(sum(w * v for w, v in zip(weights.values(), c, strict=True)) / total) for c in bounded]


def multiply(a: list[int], b: list[int], modulus: int) -> list[int]:
    """Product of two polynomials modulo X^N + 1 and ``modulus``, by Kronecker substitution into one big product."""
    size = (2 * modulus.bit_length() + 13 + 7) // 8
    first = int.from_bytes(b"".join(x.to_bytes(size, "little") for x in a), "little")
    second = int.from_bytes(b"".join(x.to_bytes(size, "little") for x in b), "little")
    product = (first * second).to_bytes(2 * N * size, "little")
    terms = [int.from_bytes(product[i * size : (i + 1) * size], "little") for i in range(2 * N)]
    return [(terms[i] - terms[i + N]) % modulus for i in range(N)]


def decrypt(c0: list[int], c1: list[int], secret: list[int], q: int, t: int) -> list[int]:
    """BFV: ``round(t/q * (c0 + c1*s mod q)) mod t``."""
    phase = [(x + y) % q for x, y in zip(c0, multiply(c1, [s % q for s in secret], q), strict=True)]
    return [(2 * t * x + q) // (2 * q) % t for x in phase]


def digest(slots: list[int]) -> str:
    return hashlib.sha256(struct.pack(f"<{len(slots)}Q", *slots)).hexdigest()


def case(bits: int, width: int, fields: int, sites: int, values: int) -> dict[str, Any]:
    """Made-up inputs, and what must come out."""
    rng = random.Random(1000 * bits + sites)
    names = [f"hospital-{chr(97 + i)}" for i in range(sites)]

    def single(value: float) -> float:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])

    one: dict[str, Any] = {
        "value_bits": bits, "width": width, "fields": fields, "clip": 0.75, "max_weight": 2048.0, "step": 7,
        "sites": names, "group": rng.randbytes(32).hex(), "transcript": rng.randbytes(32).hex(),
        "weights": {name: float(rng.randrange(100, 2048)) for name in names},
        "values": {name: [single(rng.uniform(-1, 1)) for _ in range(values)] for name in names},
        "mask_seeds": {name: rng.randbytes(16).hex() for name in names},
        "own_masks": {name: rng.randbytes(16).hex() for name in names},
        "blinds": {name: [rng.randrange(4), rng.randrange(4)] for name in names},
    }  # fmt: skip
    slots = {name: encode(one, name) for name in names}
    one["slots"] = {name: slots[name][: -(-values // fields) + 5] for name in names}
    one["masked_sha256"] = {name: digest(masked(one, name, slots[name])) for name in names}
    one["mean"] = mean(one)
    return one


def main() -> None:
    cases = [case(24, 26, 2, 3, 41), case(21, 23, 2, 4, 40), case(16, 18, 3, 3, 50), case(16, 19, 3, 5, 7)]
    VECTORS.write_text(json.dumps(cases, indent=1) + "\n")


if __name__ == "__main__":
    main()
