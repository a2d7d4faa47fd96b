"""The node's keys.

Two secrets. The **site key** (a file of mode 0600, or the output of a command that asks the hospital's key
management service) does one thing: it wraps other keys. The **root secret** is random, made once, stored wrapped by
the site key; the keys behind pseudonyms, de-identified UIDs, dates, the spool and the vault are derived from it. So
the site key can be replaced by rewrapping, and a patient keeps the pseudonym they had.

Who loses the site key or the wrapped root secret loses the archive: back both up, apart from the archive's disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from client_plugin.archive.sealing import SealBroken, seal, unseal
from client_plugin.config import NodeConfig

Purpose = Literal["uid", "pseudonym", "dates", "spool", "vault", "aggregation", "wrap"]
KEY_SIZE = 32
_ROOT_CONTEXT = b"fedpacs root secret"
_COMMAND_TIMEOUT = 30.0


class KeyUnusable(RuntimeError):  # noqa: N818 - it is the state of the key that is named
    """A key is missing, malformed, readable by others, or does not fit; the message says which and the cure."""


@dataclass(frozen=True)
class SiteKeys:
    """The keys of one node. Never logged: the secrets are not part of its representation.

    Parameters
    ----------
    site
        32 bytes, wraps the root secret and the patients' data keys.
    root
        32 bytes, everything else is derived from it.
    """

    site: bytes = field(repr=False)
    root: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.site) != KEY_SIZE or len(self.root) != KEY_SIZE:
            raise KeyUnusable(f"site key and root secret have {KEY_SIZE} bytes each")

    @classmethod
    def open(cls, config: NodeConfig) -> SiteKeys:
        """The node's keys; on first use they are made. Safe for several processes at once.

        Raises
        ------
        KeyUnusable
            The key file is readable by others or has a wrong length, the command fails, the key does not open this
            node's root secret, one of them is missing while there is an archive, or a rotation was interrupted.
        """
        if next_file(config.key_file).exists():
            raise KeyUnusable("a rotation of the site key was interrupted: run it again before anything else")
        site = site_key(config)
        return cls(site, _open_root(config, site))

    def derive(self, purpose: Purpose) -> bytes:
        """The 32-byte key for one purpose (HKDF-SHA256); purposes never share a key.

        Examples
        --------
        >>> keys = SiteKeys(site=bytes(32), root=bytes(32))
        >>> keys.derive("uid") == keys.derive("spool")
        False
        """
        if purpose not in get_args(Purpose):
            raise ValueError(f"no key has the purpose {purpose!r}: one of {', '.join(get_args(Purpose))}")
        secret = self.site if purpose == "wrap" else self.root
        return HKDF(SHA256(), KEY_SIZE, None, b"fedpacs key 1: " + purpose.encode()).derive(secret)


def root_file(config: NodeConfig) -> Path:
    """Where the wrapped root secret of a node lies."""
    return config.root / "keys" / "root.sealed"


def ask(command: tuple[str, ...]) -> bytes:
    """The site key as a command prints it, in hexadecimal. Nothing it prints enters an error message."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KeyUnusable(f"archive.key_command {command[0]}: {type(error).__name__}; check the command") from None
    if done.returncode != 0:
        raise KeyUnusable(f"archive.key_command {command[0]} ended with status {done.returncode}; run it by hand")
    try:
        key = bytes.fromhex(done.stdout.decode("ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_SIZE:
        raise KeyUnusable(f"archive.key_command {command[0]} must print {2 * KEY_SIZE} hexadecimal digits")
    return key


def next_file(path: Path) -> Path:
    """Where a rotation keeps what is to take the place of ``path``."""
    return path.with_name(f"{path.name}.next")


def site_key(config: NodeConfig) -> bytes:
    """The site key alone; made if this is a new node."""
    command, path = config.archive.key_command, config.key_file
    if command:
        return ask(command)
    if not path.exists():
        if root_file(config).exists():
            raise KeyUnusable(f"the site key {path} is missing: restore it from its backup")
        write_new(path, os.urandom(KEY_SIZE))
    return read_key_file(path)


def read_key_file(path: Path) -> bytes:
    """The site key in a file that nobody else may read."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        key = file.read(KEY_SIZE + 1)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyUnusable(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
    if len(key) != KEY_SIZE:
        raise KeyUnusable(f"{path} is not a site key of {KEY_SIZE} bytes: restore it from its backup")
    return key


def _open_root(config: NodeConfig, site: bytes) -> bytes:
    path = root_file(config)
    if not path.exists():
        if any(config.objects.glob("[!.]*")):
            raise KeyUnusable(f"{path} is missing: restore it, or every patient would get a second pseudonym")
        write_new(path, wrap_root(os.urandom(KEY_SIZE), site))
    for candidate in (path, next_file(path)):  # a rotation may have ended between its last two steps
        if candidate.exists() and (root := open_root(candidate, site)) is not None:
            return root
    raise KeyUnusable(f"the site key does not open {path}: restore the key this node was set up with")


def wrap_root(root: bytes, site: bytes) -> bytes:
    """The root secret, wrapped by a site key."""
    return seal(root, SiteKeys(site, root).derive("wrap"), _ROOT_CONTEXT)


def open_root(path: Path, site: bytes) -> bytes | None:
    """The root secret in ``path``; None if another site key wrapped it."""
    try:
        return unseal(path.read_bytes(), SiteKeys(site, bytes(KEY_SIZE)).derive("wrap"), _ROOT_CONTEXT)
    except SealBroken:
        return None


@contextlib.contextmanager
def key_lock(config: NodeConfig, *, exclusive: bool) -> Iterator[None]:
    """Hold the site key still (shared: everyone who uses it), or replace it (exclusive).

    Raises
    ------
    KeyUnusable
        It is being replaced, or, for ``exclusive``, in use.
    """
    path = root_file(config).with_name("lock")
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            cure = "stop the node and its jobs first" if exclusive else "try again in a moment"
            raise KeyUnusable(f"the site key is {'in use' if exclusive else 'being replaced'}: {cure}") from None
        yield


def write_new(path: Path, data: bytes) -> None:
    """Create ``path`` (mode 0600) with ``data``, durably; if it exists, by whoever's hand, it is left as it is.

    A hard link either appears whole or not at all, so a process that starts at the same moment never reads half.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (fsync of the directory)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
