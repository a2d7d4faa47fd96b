"""What an aggregation session keeps on the hospital's disk, sealed under the node's keys.

``<storage>/aggregation/<job>.model``: the opened model, until the job, or the one that resumes it, has finished.
``<storage>/aggregation/<job>.own``: what the job's executor alone has, as long.
``<storage>/aggregation/<job>.keys``: the keys of the running epoch, until the job's process ends; only a process that
was killed leaves them behind, and the client's next start destroys what no process can use any more.

Both are files of mode 0600, replaced in one step and durable before anything that depends on them leaves the site.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from client_plugin.archive.keys import SiteKeys, sync_folder
from client_plugin.archive.sealing import SealBroken, seal, unseal
from client_plugin.config import NodeConfig

FOLDER = "aggregation"
MODEL_DAYS = 30
"""How long the model of a job that nobody resumed is kept."""
_JOB = re.compile(r"[A-Za-z0-9_-]{1,64}")

log = logging.getLogger(__name__)


class Kept:
    """The files of one job.

    Parameters
    ----------
    folder, key
        Where, and 32 bytes to seal with.
    job
        NVFlare's job id.

    Raises
    ------
    ValueError
        The job id is no plain name.
    """

    def __init__(self, folder: Path, key: bytes, job: str) -> None:
        if not _JOB.fullmatch(job):
            raise ValueError("a job's id is letters, digits, '-' and '_'")
        self._folder = folder
        self._key = key
        self._job = job
        self._last_keys = b""

    @classmethod
    def open(cls, config: NodeConfig, job: str) -> Kept:
        """The files of a job at a node."""
        return cls(folder_of(config), SiteKeys.open(config).derive("aggregation"), job)

    def of(self, job: str) -> Kept:
        """The files of another job at the same node."""
        return Kept(self._folder, self._key, job)

    def read(self, kind: str) -> bytes | None:
        """``model``, ``own`` or ``keys``; None when there is none that opens."""
        path = self._path(kind)
        try:
            return unseal(path.read_bytes(), self._key, self._context(kind))
        except FileNotFoundError:
            return None
        except SealBroken:
            log.error("%s does not open with this node's keys: it is not used", path.name)  # noqa: TRY400 - no traceback
            return None

    def write_model(self, data: bytes) -> None:
        """Replace the model."""
        self._write("model", data)

    def write_own(self, data: bytes) -> None:
        """Replace what the executor alone has."""
        self._write("own", data)

    def write_keys(self, data: bytes | None) -> None:
        """Replace the keys if they changed; None destroys them."""
        if data is None:
            self.destroy("keys")
        elif data != self._last_keys:
            self._write("keys", data)
            self._last_keys = data

    def destroy(self, kind: str) -> None:
        """Overwrite and remove a file, if it is there. (A journalling or flash disk may keep old blocks: what is in
        them is sealed.)
        """
        erase(self._path(kind))
        self._last_keys = b""

    def _path(self, kind: str) -> Path:
        return self._folder / f"{self._job}.{kind}"

    def _context(self, kind: str) -> bytes:
        return f"fedpacs aggregation {kind} {self._job}".encode()

    def _write(self, kind: str, data: bytes) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=self._folder, prefix=".new-")  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(seal(data, self._key, self._context(kind)))
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path(kind))
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        sync_folder(self._folder)


def folder_of(config: NodeConfig) -> Path:
    """Where a node keeps these files."""
    return config.root / FOLDER


def has_keys(config: NodeConfig, job: str) -> bool:
    """Whether a job's process ended without having destroyed its keys: it was killed."""
    return bool(_JOB.fullmatch(job)) and (folder_of(config) / f"{job}.keys").exists()


def erase(path: Path) -> None:
    """Overwrite and remove a file, if it is there."""
    try:
        with path.open("r+b") as file:
            file.write(bytes(os.fstat(file.fileno()).st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return
    sync_folder(path.parent)


def sweep(config: NodeConfig, now: float | None = None) -> Iterator[str]:
    """Erase what no job can use any more, at a moment when no job runs: all keys, half-written files, and models that
    nobody resumed for `MODEL_DAYS` days; yields their names.
    """
    oldest = (time.time() if now is None else now) - MODEL_DAYS * 86400
    for path in sorted(folder_of(config).glob("*")):
        if path.suffix not in (".model", ".own") or path.stat().st_mtime < oldest:
            erase(path)
            yield path.name
