"""Sealing: authenticated encryption of files of any length, in bounded memory.

The STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online Authenticated-Encryption and its Nonce-Reuse
Misuse-Resistance", CRYPTO 2015) over AES-256-GCM. The plaintext is cut into chunks; the nonce of a chunk holds its
number and whether it is the last, so chunks cannot be dropped, repeated, reordered or cut off the end. Each file has
its own key, HKDF-SHA256 of the caller's key and a random salt: chunks of two files are never interchangeable, and
one key may seal any number of files.

Layout: ``magic (4) | chunk size (4, big endian) | salt (32)``, then the chunks, each with its 16-byte tag. The
header and the caller's *context* (what the file is: never stored, known to the reader) are authenticated with every
chunk.

What it does not hide: the length of the plaintext, and that the file exists.
"""

from __future__ import annotations

import io
import os
import struct
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC = b"FPS\x01"
CHUNK_SIZE = 1 << 20
MAX_CHUNK_SIZE = 1 << 24  # what a reader will hold in memory on the word of an unauthenticated header

Buffer = bytes | bytearray | memoryview

_HEADER = struct.Struct(">4sI32s")
_NONCE = struct.Struct(">7xI?")  # the file's key is used for nothing else: the prefix may be zero
_TAG = 16
_MAX_CHUNKS = 1 << 32


class SealBroken(ValueError):  # noqa: N818 - it is the state of the file that is named
    """The sealed bytes were changed, cut, reordered, or belong to another key or context."""


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    if len(key) != 32:
        raise ValueError(f"a sealing key has 32 bytes, this one {len(key)}")
    return AESGCM(HKDF(SHA256(), 32, salt, b"fedpacs sealed stream 1").derive(key))


class SealedWriter:
    """Encrypts what is written to it into ``raw``.

    Without `finish` the file has no last chunk and cannot be read: a crash leaves nothing that looks whole.

    Parameters
    ----------
    raw
        Where the sealed bytes go. Not closed, flushed or synced here.
    key
        32 bytes.
    context
        What this file is, for example its kind and name. The reader must give the same.
    chunk_size
        Bytes of plaintext per chunk; memory use is about twice this.
    """

    def __init__(self, raw: BinaryIO, key: bytes, context: bytes, chunk_size: int = CHUNK_SIZE) -> None:
        if not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise ValueError(f"chunk_size must be 1 to {MAX_CHUNK_SIZE}")
        salt = os.urandom(32)
        header = _HEADER.pack(MAGIC, chunk_size, salt)
        self._raw = raw
        self._aead = _cipher(key, salt)
        self._associated = header + context
        self._chunk_size = chunk_size
        self._pending = bytearray()
        self._chunks = 0
        self._finished = False
        raw.write(header)

    def write(self, data: Buffer) -> int:
        """Seal ``data``; returns its length in bytes."""
        if self._finished:
            raise ValueError("this sealed file is finished")
        view = memoryview(data).cast("B")
        written = len(view)
        while view:
            if len(self._pending) == self._chunk_size:  # only now is it known not to be the last
                self._emit(self._pending, last=False)
            room = self._chunk_size - len(self._pending)
            self._pending += view[:room]
            view = view[room:]
        return written

    def finish(self, data: Buffer = b"") -> None:
        """Seal ``data``, the end, and write the last chunk. Call it once, then sync the file."""
        if self._finished:
            raise ValueError("this sealed file is finished")
        view = memoryview(data).cast("B")
        if self._pending or len(view) > self._chunk_size:
            self.write(view)
            self._emit(self._pending, last=True)
        else:
            self._emit(view, last=True)
        self._finished = True

    def _emit(self, chunk: Buffer, *, last: bool) -> None:
        if self._chunks == _MAX_CHUNKS:
            raise OverflowError("too many chunks for one sealed file: use a larger chunk size")
        self._raw.write(self._aead.encrypt(_NONCE.pack(self._chunks, last), chunk, self._associated))
        self._pending.clear()
        self._chunks += 1


class SealedReader(io.BufferedIOBase):
    """A readable, seekable view of the plaintext; one chunk is held in memory.

    Every byte it returns is authenticated. That the file *ends* where it should is known once its last chunk was
    read, or after ``seek(0, io.SEEK_END)``.

    Parameters
    ----------
    raw
        The sealed file, seekable. It starts at offset 0. Closed with the reader.
    key, context
        As they were given to the writer.

    Raises
    ------
    SealBroken
        Here for a header that is no sealed file's; from ``read`` and ``seek`` for everything else.
    """

    def __init__(self, raw: BinaryIO, key: bytes, context: bytes) -> None:
        raw.seek(0)
        header = raw.read(_HEADER.size)
        if len(header) != _HEADER.size:
            raise SealBroken("too short for a sealed file")
        magic, chunk_size, salt = _HEADER.unpack(header)
        if magic != MAGIC or not 1 <= chunk_size <= MAX_CHUNK_SIZE:
            raise SealBroken("not a sealed file of this version")
        body = raw.seek(0, io.SEEK_END) - _HEADER.size
        self._stride = chunk_size + _TAG
        self._chunks = max(1, -(-body // self._stride))
        self._size = body - _TAG * self._chunks
        if self._size < 0 or (self._chunks > 1 and self._size <= chunk_size * (self._chunks - 1)):
            raise SealBroken("cut short")
        self._raw = raw
        self._aead = _cipher(key, salt)
        self._associated = header + context
        self._chunk_size = chunk_size
        self._position = 0
        self._loaded = -1
        self._chunk = b""

    @property
    def size(self) -> int:
        """Length of the plaintext in bytes; trustworthy once the last chunk was read."""
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            self._load(self._chunks - 1)
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("cannot seek before the start")
        self._position = start + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        if self._size == 0:
            self._load(0)  # an empty file is authenticated too
        available = max(0, self._size - self._position)
        wanted = available if size is None or size < 0 else min(size, available)
        if wanted == 0:
            return b""
        parts: list[bytes] = []
        while wanted > 0:
            index, start = divmod(self._position, self._chunk_size)
            self._load(index)
            part = self._chunk[start : start + wanted]
            parts.append(part)
            self._position += len(part)
            wanted -= len(part)
        return b"".join(parts)

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(self._chunk_size if size < 0 else min(size, self._chunk_size))

    def close(self) -> None:
        if not self.closed:
            self._chunk = b""
            self._raw.close()
        super().close()

    def _load(self, index: int) -> None:
        if index == self._loaded:
            return
        self._raw.seek(_HEADER.size + index * self._stride)
        sealed = self._raw.read(self._stride)
        try:
            chunk = self._aead.decrypt(_NONCE.pack(index, index == self._chunks - 1), sealed, self._associated)
        except (InvalidTag, ValueError):
            raise SealBroken(f"chunk {index} of {self._chunks}: changed, moved, or another key or context") from None
        self._chunk, self._loaded = chunk, index


def seal(data: Buffer, key: bytes, context: bytes) -> bytes:
    """Seal ``data`` (which fits in memory) into bytes.

    Examples
    --------
    >>> sealed = seal(b"secret", bytes(32), b"note 1")
    >>> unseal(sealed, bytes(32), b"note 1")
    b'secret'
    >>> unseal(sealed, bytes(32), b"note 2")
    Traceback (most recent call last):
    client_plugin.archive.sealing.SealBroken: chunk 0 of 1: changed, moved, or another key or context
    """
    raw = io.BytesIO()
    SealedWriter(raw, key, context).finish(data)
    return raw.getvalue()


def unseal(sealed: Buffer, key: bytes, context: bytes) -> bytes:
    """The inverse of `seal`; raises `SealBroken`."""
    return SealedReader(io.BytesIO(sealed), key, context).read()
