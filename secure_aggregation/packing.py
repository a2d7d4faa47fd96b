"""Words packed to their true bits.

A ciphertext coefficient is two residues of ``4 * size`` bits each: together exactly ``size`` bytes, little-endian,
first residue in the low bits. A slot of a sum that only masks protect is ``size`` bytes, little-endian.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from secure_aggregation.errors import ProtocolError, Reason

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


def pack_words(words: Words, size: int) -> Bytes:
    """Keep the low ``size`` bytes of every word. ``words`` has any shape; the answer is flat."""
    if words.dtype != np.uint64 or not 1 <= size <= 8:
        raise ValueError("words are uint64, and one of them has 1 to 8 bytes")
    flat = np.ascontiguousarray(words, dtype="<u8").reshape(-1)
    return np.ascontiguousarray(flat.view(np.uint8).reshape(-1, 8)[:, :size]).reshape(-1)


def unpack_words(packed: Bytes, size: int) -> Words:
    """The inverse of :func:`pack_words`; the answer is flat."""
    if packed.size % size:
        raise ProtocolError(Reason.TRUNCATED, f"{packed.size} bytes are no whole number of {size}-byte words")
    wide = np.zeros((packed.size // size, 8), np.uint8)
    wide[:, :size] = packed.reshape(-1, size)
    return wide.reshape(-1).view("<u8").astype(np.uint64, copy=False)


def pack_residues(residues: Words, ring: tuple[int, ...]) -> Bytes:
    """Pack residues, uint64 ``(ciphertexts, primes, degree)``, into ``sum(ring)`` bits a coefficient."""
    bits = sum(ring)
    low = residues[:, 0].reshape(-1)
    if len(ring) == 1:
        return _pack_pairs(low) if bits == 60 else pack_words(low, bits // 8)
    high = residues[:, 1].reshape(-1)
    if bits <= 64:
        return pack_words(low | (high << np.uint64(ring[0])), bits // 8)
    packed = np.empty(low.size * 9, np.uint8)
    first, last = _halves(packed, 9)
    first[:] = low | (high << np.uint64(36))
    last[:] = (low >> np.uint64(8)) | (high << np.uint64(28))
    return packed


def unpack_residues(packed: Bytes, ring: tuple[int, ...], degree: int) -> Words:
    """The inverse of :func:`pack_residues`: uint64 ``(ciphertexts, primes, degree)``."""
    bits = sum(ring)
    if packed.size * 8 % (bits * degree):
        raise ProtocolError(Reason.TRUNCATED, f"{packed.size} bytes are no whole number of polynomials")
    if len(ring) == 1:
        words = _unpack_pairs(packed) if bits == 60 else unpack_words(packed, bits // 8)
        return words.reshape(-1, 1, degree)
    if bits <= 64:
        words = unpack_words(packed, bits // 8)
        low, high = words, words >> np.uint64(ring[0])
    else:
        low, last = _halves(np.ascontiguousarray(packed), 9)
        high = last >> np.uint64(28)
    residues = np.empty((low.size // degree, 2, degree), np.uint64)
    np.bitwise_and(low.reshape(-1, degree), np.uint64((1 << ring[0]) - 1), out=residues[:, 0])
    residues[:, 1] = high.reshape(-1, degree)
    return residues


def _halves(packed: Bytes, size: int) -> tuple[Words, Words]:
    """Of every ``size`` bytes the first 8 and the last 8 as words, without a copy; they overlap in the middle."""
    count = packed.size // size
    first = np.ndarray((count,), "<u8", packed.data, 0, (size,))
    return first, np.ndarray((count,), "<u8", packed.data, size - 8, (size,))


def _pack_pairs(words: Words) -> Bytes:
    """Two words of 60 bits in 15 bytes."""
    packed = np.empty(words.size // 2 * 15, np.uint8)
    low, high = _halves(packed, 15)
    first, second = words[0::2], words[1::2]
    low[:] = first
    high[:] = (first >> np.uint64(56)) | (second << np.uint64(4))
    return packed


def _unpack_pairs(packed: Bytes) -> Words:
    low, high = _halves(np.ascontiguousarray(packed), 15)
    words = np.empty(2 * low.size, np.uint64)
    np.bitwise_and(low, np.uint64((1 << 60) - 1), out=words[0::2])
    np.right_shift(high, np.uint64(4), out=words[1::2])
    return words
