"""The spool: instances as they came, sealed, between the wire and the archive.

A file is written under a provisional name, synced, renamed, and its folder synced; only then is it entered in the
catalogue, and only after that acknowledged. So a file under its final name is whole, and one without a row was never
acknowledged. Names are random: nothing on the disk tells an instance, a study or a patient.

The plaintext is a DICOM file (PS3.10): the file meta information that the association told us, then the data set bit
for bit as the peer encoded it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

from client_plugin.archive.keys import sync_folder
from client_plugin.archive.sealing import SealedReader, SealedWriter
from client_plugin.archive.turns import lock_file
from client_plugin.intake.file_meta import encode
from client_plugin.intake.peek import HEAD_SIZE

IMPLEMENTATION_CLASS_UID = "2.25.306150270284473364018205573906190470541"
"""This software, in file meta information and association negotiation (a UUID-derived UID, PS3.5 B.2)."""
IMPLEMENTATION_VERSION = "FEDPACS_1"

_NAME = re.compile(r"[0-9]+-[0-9a-f]{32}")
_CONTEXT = b"fedpacs spool 1: "


@dataclass(frozen=True)
class Origin:
    """What the association says about an instance.

    Parameters
    ----------
    sop_class_uid, sop_instance_uid
        From the C-STORE command.
    transfer_syntax_uid
        Of the presentation context.
    source_ae
        AE title of the configured peer it came from.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    source_ae: str


@dataclass(frozen=True)
class Spooled:
    """An instance whose bytes are on the disk under the provisional name ``<name>.part``.

    Digests are keyed: without the spool key nobody can test whether a given instance was here.
    """

    name: str
    origin: Origin
    uid_digest: str
    content_digest: str
    size: int
    head: bytes


@dataclass(frozen=True)
class Leftovers:
    """Names of files that dead writers left.

    Parameters
    ----------
    provisional
        Half-written.
    whole
        Under their final names.
    """

    provisional: tuple[str, ...]
    whole: tuple[str, ...]


class Spool:
    """The sealed files of one node.

    Parameters
    ----------
    folder
        Where they lie; on the same file system as nothing in particular, but not on a network share without fsync.
    key
        32 bytes, `SiteKeys.derive` ("spool").
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._prefix = f"{folder}{os.sep}"
        self._key = key
        self._slot: int | None = None
        self._lock: FileIO | None = None

    def uid_digest(self, sop_instance_uid: str) -> str:
        """Keyed digest (64 hexadecimal digits) of an original SOP Instance UID."""
        return hmac.new(self._key, b"uid " + sop_instance_uid.encode(), "sha256").hexdigest()

    def free_bytes(self) -> int:
        """Free space for an unprivileged process, in bytes."""
        status = os.statvfs(self.folder)
        return status.f_bavail * status.f_frsize

    def take_slot(self) -> Leftovers:
        """Become one of the writers, and find what writers that died have left.

        Each writing process holds the lock of a numbered slot, and its files carry the number, so that what a dead
        process left half-written is told from what a living one is writing.
        """
        provisional: list[str] = []
        whole: list[str] = []
        slot = 0
        while self._slot is None or self._lock_file(slot).exists():
            file = lock_file(self._lock_file(slot))
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
            else:
                provisional += [path.stem for path in self.folder.glob(f"{slot}-*.part")]
                whole += [path.stem for path in self.folder.glob(f"{slot}-*.sealed")]
                if self._slot is None:
                    self._slot, self._lock = slot, file
                else:
                    file.close()
            slot += 1
        return Leftovers(tuple(provisional), tuple(whole))

    def begin(self, origin: Origin) -> Incoming:
        """Start a new file. The caller must have a slot (`take_slot`).

        Raises
        ------
        OSError
            No space, no permission.
        """
        if self._slot is None:
            raise RuntimeError("take_slot() before writing to the spool")
        return Incoming(self, f"{self._slot}-{secrets.token_hex(16)}", self._key, origin)

    def publish(self, names: Iterable[str]) -> None:
        """Give synced files their final names; `sync` makes that durable."""
        for name in names:
            os.rename(self._file(name, "part"), self._file(name, "sealed"))  # noqa: PTH104 - see _file

    def sync(self) -> None:
        """Make all names that were published durable."""
        sync_folder(self.folder)

    def open(self, name: str) -> SealedReader:
        """The DICOM file of an instance, readable and seekable, authenticated as it is read.

        Raises
        ------
        FileNotFoundError
            It was deleted.
        client_plugin.archive.sealing.SealBroken
            Here or from a read: the file was changed.
        """
        return SealedReader(self.path(name).open("rb"), self._key, _CONTEXT + name.encode())

    def delete(self, name: str) -> None:
        """Delete an instance, under either name; that it is gone already is no error."""
        for suffix in ("sealed", "part"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._file(name, suffix))  # noqa: PTH108 - see _file

    def path(self, name: str) -> Path:
        return Path(self._file(name, "sealed"))

    def part(self, name: str) -> Path:
        return Path(self._file(name, "part"))

    def _file(self, name: str, suffix: str) -> str:
        """As a string: for what happens to every instance, making `Path` objects takes longer than using them."""
        if not _NAME.fullmatch(name):
            raise ValueError("not a name of this spool")
        return f"{self._prefix}{name}.{suffix}"

    def close(self) -> None:
        """Give the slot back."""
        if self._lock is not None:
            self._lock.close()
        self._slot = self._lock = None

    def _lock_file(self, slot: int) -> Path:
        return self.folder / f"writer-{slot}.lock"


class Incoming:
    """One instance on its way into the spool: the data set is written in pieces, sealed as it comes."""

    def __init__(self, spool: Spool, name: str, key: bytes, origin: Origin) -> None:
        self.name = name
        self.origin = origin
        self._spool = spool
        self._path = spool.part(name)
        self._file = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", buffering=0)
        self._digest = hmac.new(key, b"content ", "sha256")
        self._head = bytearray()
        self._size = 0
        try:
            self._sealed = SealedWriter(self._file, key, _CONTEXT + name.encode())
            self._sealed.write(file_meta(origin))
        except OSError:
            self.discard()
            raise

    def write(self, data: bytes | memoryview) -> None:
        """Append a piece of the encoded data set; raises `OSError` when the disk is full."""
        view = memoryview(data)
        if len(self._head) < HEAD_SIZE:
            self._head += view[: HEAD_SIZE - len(self._head)]
        self._digest.update(view)
        self._sealed.write(view)
        self._size += len(view)

    def finish(self) -> Spooled:
        """Seal the end and sync the file."""
        self._sealed.finish()
        os.fsync(self._file.fileno())
        return self.finished()

    def finished(self) -> Spooled:
        """Close the file, which was synced, and say what it holds."""
        self._file.close()
        return Spooled(
            name=self.name,
            origin=self.origin,
            uid_digest=self._spool.uid_digest(self.origin.sop_instance_uid),
            content_digest=self._digest.hexdigest(),
            size=self._size,
            head=bytes(self._head),
        )

    def discard(self) -> None:
        """Forget the file, unless it was published."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


def file_meta(origin: Origin) -> bytes:
    """Preamble, prefix and file meta information (PS3.10, section 7.1) of an instance as we received it."""
    return encode(
        (
            (0x0001, "OB", b"\0\1"),
            (0x0002, "UI", origin.sop_class_uid),
            (0x0003, "UI", origin.sop_instance_uid),
            (0x0010, "UI", origin.transfer_syntax_uid),
            (0x0012, "UI", IMPLEMENTATION_CLASS_UID),
            (0x0013, "SH", IMPLEMENTATION_VERSION),
            (0x0016, "AE", origin.source_ae),
        )
    )
