"""Lock one: BFV ciphertexts of Microsoft SEAL, reached through ``tenseal.sealapi``.

SEAL makes the keys, the randomness, the errors and the decryptions. This module moves plaintexts and ciphertexts
between numpy and SEAL through SEAL's own serialisation format (version 4), because the bindings take and give
Python lists otherwise:

- a plaintext is loaded with its coefficients as they are: the sum needs additions only, so values go into the
polynomial's
  coefficients (``t`` a power of two), not into batching slots;
- a symmetric ciphertext is saved by SEAL as ``c0`` and the 64-byte seed of ``c1``. Only these two are sent. The sum
of the ``c1`` is
  never sent: who opens the sum expands each contributor's seeds, so that the way down costs one polynomial too;
- the server adds ``c0`` with plain modular arithmetic and needs neither SEAL nor any key.

Polynomials travel as residues, shape ``(ciphertexts, primes, DEGREE)``, packed to their bits by
:mod:`secure_aggregation.packing`.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import tenseal.sealapi as seal
import zstandard

from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.lattice_format import SEED_BYTES
from secure_aggregation.parameters import DEGREE, Parameters, check

_HEADER = struct.Struct("<HBBBBHQ")  # SEALHeader: magic, header size, major, minor, compression, reserved, size
_MAGIC = 0xA15E
_NO_COMPRESSION = 0
_COMPRESSIONS = {0, 2}  # none, zstd

Residues = npt.NDArray[np.uint64]
Slots = npt.NDArray[np.uint64]


class _MemoryFile:
    """A file without a disk: the bindings read and write paths only, and what passes here are plaintexts."""

    def __init__(self) -> None:
        self._fd = os.memfd_create("fedpacs", os.MFD_CLOEXEC)
        self.path = f"/proc/self/fd/{self._fd}"

    def put(self, *parts: bytes | memoryview) -> None:
        size = sum(len(part) for part in parts)
        os.lseek(self._fd, 0, os.SEEK_SET)
        os.writev(self._fd, parts)
        os.ftruncate(self._fd, size)

    def take(self) -> bytes:
        return os.pread(self._fd, os.fstat(self._fd).st_size, 0)

    def close(self) -> None:
        # Pages of a closed memory file go back to the kernel; overwrite them first.
        os.pwrite(self._fd, bytes(os.fstat(self._fd).st_size), 0)
        os.close(self._fd)


@contextmanager
def _memory_file() -> Iterator[_MemoryFile]:
    file = _MemoryFile()
    try:
        yield file
    finally:
        file.close()


def _header(major: int, minor: int, body: int) -> bytes:
    return _HEADER.pack(_MAGIC, _HEADER.size, major, minor, _NO_COMPRESSION, 0, _HEADER.size + body)


def _body(stored: bytes) -> tuple[int, int, bytes]:
    """Version and uncompressed body of one object that SEAL saved."""
    magic, size, major, minor, compression, _, _ = _HEADER.unpack_from(stored)
    if magic != _MAGIC or size != _HEADER.size or compression not in _COMPRESSIONS:
        raise ProtocolError(Reason.UNSUPPORTED, "this build of SEAL saves in a format that is not known here")
    if compression == _NO_COMPRESSION:
        return major, minor, stored[_HEADER.size :]
    return major, minor, zstandard.ZstdDecompressor().decompressobj().decompress(stored[_HEADER.size :])


class Lattice:
    """A BFV context for given parameters, without a key.

    Parameters
    ----------
    parameters
        Checked again before anything is made from them.

    Raises
    ------
    ProtocolError
        ``unsupported``: SEAL refuses the parameters at 128-bit security, or made other moduli than were proven.
    """

    def __init__(self, parameters: Parameters) -> None:
        check(parameters)
        self.parameters = parameters
        encryption = seal.EncryptionParameters(seal.SCHEME_TYPE.BFV)
        encryption.set_poly_modulus_degree(DEGREE)
        encryption.set_coeff_modulus(seal.CoeffModulus.Create(DEGREE, list(parameters.key_ring)))
        encryption.set_plain_modulus(seal.Modulus(1 << parameters.plain_bits))
        self.context = seal.SEALContext(encryption, True, seal.SEC_LEVEL_TYPE.TC128)
        if not self.context.parameters_set():
            raise ProtocolError(Reason.UNSUPPORTED, f"SEAL: {self.context.parameters_error_name()}")
        data = self.context.first_context_data().parms().coeff_modulus()
        if tuple(int(m.value()) for m in data) != parameters.primes:
            raise ProtocolError(Reason.UNSUPPORTED, "SEAL chose other primes than the noise bound was proven for")


def generate_secret(lattice: Lattice) -> bytes:
    """Make a secret key with SEAL's generator; the answer is SEAL's own serialisation of it."""
    with _memory_file() as file:
        seal.KeyGenerator(lattice.context).secret_key().save(file.path)
        return file.take()


class Cipher:
    """Encrypts and opens with one secret key.

    Parameters
    ----------
    lattice
        The context the key was made for.
    secret
        What :func:`generate_secret` answered.

    Raises
    ------
    ProtocolError
        ``wrong_key``: no secret key of these parameters.
    """

    def __init__(self, lattice: Lattice, secret: bytes) -> None:
        self._lattice = lattice
        self._planes = len(lattice.parameters.primes)
        self._key = seal.SecretKey()
        with _memory_file() as file:
            file.put(secret)
            try:
                self._key.load(lattice.context, file.path)
            except Exception:  # noqa: BLE001 - the bindings raise bare exceptions, whose text may hold what was read
                raise ProtocolError(Reason.WRONG_KEY, "not a secret key for the agreed parameters") from None
        self._encryptor = seal.Encryptor(lattice.context, self._key)
        self._decryptor = seal.Decryptor(lattice.context, self._key)
        self._evaluator = seal.Evaluator(lattice.context)
        self._plain_frame, self._cipher_frame, self._seed_frame = self._frames()

    def _frames(self) -> tuple[bytes, bytes, bytes]:
        """What SEAL writes around the numbers, taken from objects that it saved itself."""
        words = self._planes * DEGREE
        with _memory_file() as file:
            plain = seal.Plaintext("1")
            plain.save(file.path)
            major, minor, body = _body(file.take())
            # parms_id (32), coefficient count (8), scale (8), then a DynArray: header (16), count (8), words
            array = _header(major, minor, 8 + 8 * DEGREE) + struct.pack("<Q", DEGREE)
            plain_body = body[:32] + struct.pack("<Q", DEGREE) + body[40:48] + array
            plain_frame = _header(major, minor, len(plain_body) + 8 * DEGREE) + plain_body
            self._encryptor.encrypt_symmetric(plain).save(file.path)
            major, minor, body = _body(file.take())
            if len(body) - 8 * words - (_HEADER.size + 1 + SEED_BYTES) != 73 + _HEADER.size + 8:
                raise ProtocolError(Reason.UNSUPPORTED, "this build of SEAL does not save seeded ciphertexts")
            start = len(body) - 8 * words - (_HEADER.size + 1 + SEED_BYTES)
            return plain_frame, _header(major, minor, len(body)) + body[:start], body[start + 8 * words : -SEED_BYTES]

    def encrypt(self, slots: Slots) -> tuple[npt.NDArray[np.uint8], Residues]:
        """Encrypt slots with fresh randomness.

        Parameters
        ----------
        slots
            uint64, each below ``2**plain_bits``, shape ``(ciphertexts, DEGREE)``.

        Returns
        -------
        tuple
            Seeds of ``c1``, uint8 ``(ciphertexts, 64)``, and residues of ``c0``, uint64 ``(ciphertexts, primes,
            DEGREE)``.
        """
        count = len(slots)
        seeds = np.empty((count, SEED_BYTES), np.uint8)
        c0 = np.empty((count, self._planes, DEGREE), np.uint64)
        start = len(self._cipher_frame) - _HEADER.size
        end = start + 8 * self._planes * DEGREE
        plain = seal.Plaintext()
        with _memory_file() as clear, _memory_file() as sealed:
            for index in range(count):
                clear.put(self._plain_frame, slots[index].data.cast("B"))
                plain.load(self._lattice.context, clear.path)
                self._encryptor.encrypt_symmetric(plain).save(sealed.path)
                _, _, body = _body(sealed.take())
                c0[index] = np.frombuffer(body, np.uint64, self._planes * DEGREE, start).reshape(-1, DEGREE)
                seeds[index] = np.frombuffer(body, np.uint8, SEED_BYTES, end + len(self._seed_frame))
        return seeds, c0

    def decrypt(self, seeds: npt.NDArray[np.uint8], c0: Residues) -> tuple[Slots, int]:
        """Open a sum.

        Parameters
        ----------
        seeds
            Seeds of every contributor, uint8 ``(contributors, ciphertexts, 64)``.
        c0
            Residues of the sum of their ``c0``, uint64 ``(ciphertexts, primes, DEGREE)``.

        Returns
        -------
        tuple
            The slots of the sum modulo ``t``, uint64 ``(ciphertexts, DEGREE)``, and the noise budget left in the first
            ciphertext, in bits.
        """
        count = len(c0)
        slots = np.zeros((count, DEGREE), np.uint64)
        zero = bytes(8 * self._planes * DEGREE)
        total, term, plain = seal.Ciphertext(), seal.Ciphertext(), seal.Plaintext()
        budget = 0
        with _memory_file() as file, _memory_file() as clear:
            for index in range(count):
                for site, seed in enumerate(seeds[:, index]):
                    words = np.ascontiguousarray(c0[index]).data.cast("B") if site == 0 else zero
                    file.put(self._cipher_frame, words, self._seed_frame, seed.tobytes())
                    target = total if site == 0 else term
                    try:
                        target.load(self._lattice.context, file.path)
                    except Exception:  # noqa: BLE001 - see above
                        raise ProtocolError(Reason.TAMPERED, "SEAL refuses a ciphertext of the sum") from None
                    if site:
                        self._evaluator.add_inplace(total, term)
                if index == 0:
                    budget = int(self._decryptor.invariant_noise_budget(total))
                self._decryptor.decrypt(total, plain)
                plain.save(clear.path)
                _, _, body = _body(clear.take())
                (words_used,) = struct.unpack_from("<Q", body, 48 + _HEADER.size)
                slots[index, :words_used] = np.frombuffer(body, np.uint64, words_used, 48 + _HEADER.size + 8)
        return slots, budget
