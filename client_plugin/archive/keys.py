"""The node's keys.

Two secrets. The **site key** (a file of mode 0600, or the output of a command that asks the hospital's key
management service) does one thing: it wraps other keys. The **root secret** is random, made once, stored wrapped by
the site key; the keys behind pseudonyms, de-identified UIDs, dates, the spool and the vault are derived from it. So
the site key can be replaced by rewrapping, and a patient keeps the pseudonym they had.

Who loses the site key or the wrapped root secret loses the archive: back both up, apart from the archive's disk.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from client_plugin.archive.sealing import SealBroken, seal, unseal
from client_plugin.config import NodeConfig

Purpose = Literal["uid", "pseudonym", "dates", "spool", "vault", "wrap"]
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
            The key file is readable by others or has a wrong length, the command fails, or the key does not open
            this node's root secret.
        """
        command = config.archive.key_command
        site = _ask(command) if command else _read_or_create(config.key_file)
        return cls(site, _open_root(root_file(config), site))

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


def _ask(command: tuple[str, ...]) -> bytes:
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


def _read_or_create(path: Path) -> bytes:
    if not path.exists():
        write_new(path, os.urandom(KEY_SIZE))
    return _read_key_file(path)


def _read_key_file(path: Path) -> bytes:
    """The site key in a file that nobody else may read."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        key = file.read(KEY_SIZE + 1)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyUnusable(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}): chmod 600 {path}")
    if len(key) != KEY_SIZE:
        raise KeyUnusable(f"{path} is not a site key of {KEY_SIZE} bytes: restore it from its backup")
    return key


def _open_root(path: Path, site: bytes) -> bytes:
    wrapping = SiteKeys(site, bytes(KEY_SIZE)).derive("wrap")
    if not path.exists():
        write_new(path, seal(os.urandom(KEY_SIZE), wrapping, _ROOT_CONTEXT))
    try:
        return unseal(path.read_bytes(), wrapping, _ROOT_CONTEXT)
    except SealBroken:
        raise KeyUnusable(f"the site key does not open {path}: restore the key this node was set up with") from None


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
