"""Against the second implementation in ``reference``: its committed vectors, and its decryption of what SEAL
encrypts.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import tenseal.sealapi as seal

from secure_aggregation import encoding, lattice, masks
from secure_aggregation.parameters import DEGREE, Encryption, Parameters, choose
from tests.unit.secure_aggregation import reference

CASES: list[dict[str, Any]] = json.loads(reference.VECTORS.read_text())


def parameters(case: dict[str, Any]) -> Parameters:
    chosen = choose(
        Encryption.MASKS,
        sites=len(case["sites"]),
        bits=case["value_bits"],
        clip=case["clip"],
        max_weight=case["max_weight"],
    )
    assert (chosen.fields, chosen.width) == (case["fields"], case["width"])
    return chosen


def around(case: dict[str, Any]) -> encoding.Round:
    return encoding.Round(bytes.fromhex(case["group"]), bytes.fromhex(case["transcript"]), case["step"])


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['value_bits']} bits, {len(c['sites'])} sites")
def test_slots_masks_and_mean(case: dict[str, Any]) -> None:
    chosen = parameters(case)
    seeds = {site: bytes.fromhex(seed) for site, seed in case["mask_seeds"].items()}
    keys = {site: masks.mask_agreement(seed).public for site, seed in seeds.items()}
    total = np.zeros(DEGREE, np.uint64)
    for site in case["sites"]:
        values = np.array(case["values"][site], np.float32)
        blinds = iter(case["blinds"][site])
        slots, _ = encoding.encode(
            values, case["weights"][site], site, around(case), chosen, blind=lambda _, b=blinds: next(b)
        )
        expected = case["slots"][site]
        assert slots.reshape(-1)[: len(expected)].tolist() == expected
        others = {peer: key for peer, key in keys.items() if peer != site}
        own = bytes.fromhex(case["own_masks"][site])
        masks.mask(slots, site, masks.mask_agreement(seeds[site]), others, own, around(case).context, chosen.plain_bits)
        assert reference.digest(slots.reshape(-1).tolist()) == case["masked_sha256"][site]
        total += slots.reshape(-1)
    total &= np.uint64((1 << chosen.plain_bits) - 1)
    own_masks = {site: bytes.fromhex(one) for site, one in case["own_masks"].items()}
    masks.unmask(total, case["sites"], own_masks, {}, keys, around(case).context, chosen.plain_bits)
    mean = encoding.decode(total, len(case["mean"]), case["sites"], around(case), chosen)
    assert np.abs(mean.vector - np.array(case["mean"])).max() < len(case["sites"]) * case["clip"] / 2 ** (
        case["value_bits"] - 2
    )


def test_the_committed_vectors_are_the_references() -> None:
    case = CASES[2]
    assert case == reference.case(case["value_bits"], case["width"], case["fields"], 3, 50)


@pytest.mark.parametrize("sites", [3, 5])
def test_what_seal_encrypts_decrypts_by_the_definition(sites: int) -> None:
    """``c0 + c1*s`` with big integers: the scheme is BFV with the parameters that were proven, whatever SEAL does
    inside.
    """
    chosen = choose(Encryption.HE, sites=sites, bits=24, clip=1.0, max_weight=1.0)
    context = lattice.Lattice(chosen)
    cipher = lattice.Cipher(context, lattice.generate_secret(context))
    rng = np.random.default_rng(sites)
    slots = rng.integers(0, 1 << chosen.plain_bits, (1, DEGREE), dtype=np.uint64)
    seeds, c0 = cipher.encrypt(slots)
    q = int(np.prod([int(p) for p in chosen.primes], dtype=object))
    secret = ternary(cipher)
    assert set(secret) <= {-1, 0, 1}
    c1 = crt(second_polynomial(cipher, seeds[0], c0[0]), chosen.primes)
    got = reference.decrypt(crt(c0[0], chosen.primes), c1, secret, q, 1 << chosen.plain_bits)
    assert got == slots[0].tolist()


def crt(residues: np.ndarray, primes: tuple[int, ...]) -> list[int]:
    """Residues to integers modulo the product."""
    q = int(np.prod([int(p) for p in primes], dtype=object))
    lifts = [q // p * pow(q // p, -1, p) for p in primes]
    columns = zip(*residues.tolist(), strict=True)
    return [sum(r * lift for r, lift in zip(column, lifts, strict=True)) % q for column in columns]


def second_polynomial(cipher: lattice.Cipher, seed: np.ndarray, c0: np.ndarray) -> np.ndarray:
    """``c1`` that SEAL makes of a seed, read one coefficient at a time."""
    words = np.ascontiguousarray(c0).data.cast("B")
    ciphertext = seal.Ciphertext()
    with lattice._memory_file() as file:
        file.put(cipher._cipher_frame, words, cipher._seed_frame, seed.tobytes())
        ciphertext.load(cipher._lattice.context, file.path)
        ciphertext.save(file.path)
        _, _, body = lattice._body(file.take())
    planes = len(c0)
    start = 73 + 16 + 8 + 8 * planes * DEGREE
    return np.frombuffer(body, np.uint64, planes * DEGREE, start).reshape(planes, DEGREE)


def ternary(cipher: lattice.Cipher) -> list[int]:
    """The secret's coefficients: what a decryption shows of ``c0 = 0, c1 = t/q-th of one``: ``round(t/q * q/t *
    s)``.
    """
    chosen = cipher._lattice.parameters
    q = int(np.prod([int(p) for p in chosen.primes], dtype=object))
    step = (q + (1 << (chosen.plain_bits - 1))) // (1 << chosen.plain_bits)
    c1 = np.zeros((len(chosen.primes), DEGREE), np.uint64)
    c1[:, 0] = [step % p for p in chosen.primes]
    body_words = np.concatenate([np.zeros_like(c1), c1]).tobytes()
    frame = cipher._cipher_frame
    ciphertext, plain = seal.Ciphertext(), seal.Plaintext()
    count = 2 * len(chosen.primes) * DEGREE
    head = frame[16:-24]
    array = lattice._header(frame[3], frame[4], 8 + 8 * count) + count.to_bytes(8, "little")
    with lattice._memory_file() as file:
        content = head + array + body_words
        file.put(lattice._header(frame[3], frame[4], len(content)), content)
        ciphertext.load(cipher._lattice.context, file.path)
        cipher._decryptor.decrypt(ciphertext, plain)
        plain.save(file.path)
        _, _, body = lattice._body(file.take())
    used = int.from_bytes(body[64:72], "little")
    values = np.zeros(DEGREE, np.int64)
    values[:used] = np.frombuffer(body, np.uint64, used, 72).astype(np.int64)
    values[values > 1 << (chosen.plain_bits - 1)] -= 1 << chosen.plain_bits
    return [int(v) for v in values]
