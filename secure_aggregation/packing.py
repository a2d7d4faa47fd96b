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


def pack_residues(residues: Words, size: int) -> Bytes:
    """Pack residues, uint64 ``(ciphertexts, 2, degree)``, into ``size`` bytes a coefficient."""
    half = np.uint64(4 * size)
    low, high = residues[:, 0].reshape(-1), residues[:, 1].reshape(-1)
    if size <= 8:
        return pack_words(low | (high << half), size)
    # 72 bits: the low 64, and then the 8 that did not fit.
    packed = np.empty((low.size, 9), np.uint8)
    packed[:, :8] = (low | (high << half)).astype("<u8", copy=False).view(np.uint8).reshape(-1, 8)
    packed[:, 8] = (high >> np.uint64(64 - 36)).astype(np.uint8)
    return packed.reshape(-1)


def unpack_residues(packed: Bytes, size: int, degree: int) -> Words:
    """The inverse of :func:`pack_residues`: uint64 ``(ciphertexts, 2, degree)``."""
    if packed.size % (size * degree):
        raise ProtocolError(Reason.TRUNCATED, f"{packed.size} bytes are no whole number of polynomials")
    half = np.uint64(4 * size)
    mask = np.uint64((1 << (4 * size)) - 1)
    if size <= 8:
        words = unpack_words(packed, size)
        high = words >> half
    else:
        rows = packed.reshape(-1, 9)
        words = np.ascontiguousarray(rows[:, :8]).reshape(-1).view("<u8").astype(np.uint64, copy=False)
        high = (words >> half) | (rows[:, 8].astype(np.uint64) << np.uint64(64 - 36))
    residues = np.empty((packed.size // (size * degree), 2, degree), np.uint64)
    np.bitwise_and(words.reshape(-1, degree), mask, out=residues[:, 0])
    residues[:, 1] = high.reshape(-1, degree)
    return residues
