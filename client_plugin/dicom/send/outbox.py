"""The outbox: instances that are to be sent, sealed, each with a job that outlives the process that works on it.

``<id>.sealed`` is the DICOM file, ``<id>.json`` the job; names are random and a job names nobody. A job is there when
its file is durable, so what `Outbox.put` has returned for will be sent.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from client_plugin.archive.keys import sync_folder
from client_plugin.archive.sealing import seal, unseal

KEEP_SENT = timedelta(days=7)
"""How long a job that is done can be looked up."""
_CONTEXT = b"fedpacs outbox 1: "
_ID = re.compile(r"[0-9a-f]{32}")


class SendState(StrEnum):
    """Where an instance stands; *sent* and *failed* are final."""

    WAITING = "waiting"
    SENT = "sent"
    FAILED = "failed"


class SendReason(StrEnum):
    """Why an instance could not be delivered."""

    UNREACHABLE = "unreachable"
    """No connection, no answer in time, or no agreement on TLS."""
    REJECTED = "rejected"
    """The destination does not accept associations from our AE title."""
    LOST = "connection-lost"
    """The association or connection ended before the answer."""
    OUT_OF_RESOURCES = "destination-out-of-resources"
    """The destination could not take it now."""
    NOT_AUTHORISED = "not-authorised"
    NOT_SUPPORTED = "not-supported"
    """The destination does not take this SOP class in this transfer syntax, or not this service."""
    REFUSED = "refused"
    """The destination will not take this instance."""
    UNKNOWN_DESTINATION = "unknown-destination"
    """No peer of this AE title is configured with host and port, or no DICOMweb address is."""
    UNREADABLE = "unreadable"
    """The sealed file was changed, or is no DICOM file."""
    INTERNAL = "internal-error"
    """The sender itself failed; see the log."""


FINAL = frozenset({SendReason.NOT_AUTHORISED, SendReason.NOT_SUPPORTED, SendReason.REFUSED, SendReason.UNREADABLE})
"""Reasons that another try would not change."""


@dataclass(frozen=True)
class Job:
    """One instance on its way to one destination.

    Parameters
    ----------
    destination
        AE title of a configured peer, or `client_plugin.dicom.send.sender.WEB`.
    tries
        How often delivery was attempted.
    reason
        Of the last try that failed.
    """

    id: str
    destination: str
    state: SendState
    tries: int
    reason: SendReason | None
    created_at: datetime
    next_try_at: datetime
    finished_at: datetime | None = None


class Outbox:
    """The jobs of one node. Any process may put instances in; one at a time works on them.

    Parameters
    ----------
    folder
        Where they lie.
    key
        32 bytes, `SiteKeys.derive` ("spool").
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._key = key

    def put(self, file: bytes, destination: str, now: datetime | None = None) -> Job:
        """Accept a DICOM file (PS3.10) for ``destination``; it survives a power cut when this returns."""
        now = now or datetime.now(UTC)
        job = Job(secrets.token_hex(16), destination, SendState.WAITING, 0, None, now, now)
        self._write(self._file(job.id), seal(file, self._key, _CONTEXT + job.id.encode()))
        self._write(self._job(job.id), _encode(job))
        return job

    def read(self, job: Job) -> bytes:
        """The DICOM file of a job that is not sent yet.

        Raises
        ------
        client_plugin.archive.sealing.SealBroken
            It was changed.
        """
        return unseal(self._file(job.id).read_bytes(), self._key, _CONTEXT + job.id.encode())

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        found = [_decode(path.read_bytes()) for path in self._folder.glob("*.json")]
        return sorted(found, key=lambda job: (job.created_at, job.id))

    def due(self, now: datetime) -> list[Job]:
        """The jobs that can be tried now."""
        return [job for job in self.jobs() if job.state is SendState.WAITING and job.next_try_at <= now]

    def sent(self, job: Job, now: datetime) -> None:
        """It was delivered: the file is deleted, the job kept for a while."""
        self._update(replace(job, state=SendState.SENT, tries=job.tries + 1, reason=None, finished_at=now))
        self._file(job.id).unlink(missing_ok=True)

    def again(self, job: Job, reason: SendReason, at: datetime) -> None:
        """Not this time."""
        self._update(replace(job, tries=job.tries + 1, reason=reason, next_try_at=at))

    def failed(self, job: Job, reason: SendReason, now: datetime) -> None:
        """Given up; the file is kept until `drop`."""
        self._update(replace(job, state=SendState.FAILED, tries=job.tries + 1, reason=reason, finished_at=now))

    def retry(self, job: Job, now: datetime) -> None:
        """Give a job that failed another round of tries."""
        self._update(replace(job, state=SendState.WAITING, tries=0, next_try_at=now, finished_at=None))

    def drop(self, job: Job) -> None:
        """Forget a job and its file."""
        self._job(job.id).unlink(missing_ok=True)
        self._file(job.id).unlink(missing_ok=True)

    def tidy(self, now: datetime) -> None:
        """Forget what was sent long ago, and files that never became jobs."""
        for job in self.jobs():
            if job.state is SendState.SENT and job.finished_at is not None and job.finished_at < now - KEEP_SENT:
                self.drop(job)
        long_ago = (now - timedelta(hours=1)).timestamp()
        for path in [*self._folder.glob("*.sealed"), *self._folder.glob("*.part")]:
            if path.stat().st_mtime < long_ago and not path.with_suffix(".json").exists():
                path.unlink()

    def _update(self, job: Job) -> None:
        self._write(self._job(job.id), _encode(job))

    def _write(self, path: Path, content: bytes) -> None:
        part = path.with_suffix(".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)
        sync_folder(self._folder)

    def _file(self, job_id: str) -> Path:
        return self._job(job_id).with_suffix(".sealed")

    def _job(self, job_id: str) -> Path:
        if not _ID.fullmatch(job_id):
            raise ValueError("not a job of this outbox")
        return self._folder / f"{job_id}.json"


def _encode(job: Job) -> bytes:
    return json.dumps(asdict(job), default=lambda moment: moment.isoformat()).encode()


def _decode(content: bytes) -> Job:
    raw = json.loads(content)
    for name in ("created_at", "next_try_at", "finished_at"):
        raw[name] = datetime.fromisoformat(raw[name]) if raw[name] else None
    raw["state"] = SendState(raw["state"])
    raw["reason"] = SendReason(raw["reason"]) if raw["reason"] else None
    return Job(**raw)
