"""The way back from a pseudonym to a patient, for a finding that the patient must hear of.

One sealed file for each pseudonym, on the hospital's own disk, under a key that is used for nothing else. Every look
is written to an audit log whose lines are chained by their hashes: none can be changed or taken out unseen, except
from the end.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from client_plugin.archive.keys import SiteKeys, write_new
from client_plugin.archive.sealing import seal, unseal
from client_plugin.config import NodeConfig

_START = "0" * 64


class NotInVault(LookupError):  # noqa: N818 - a state, with its cause
    """There is no way back from this pseudonym here; the message says why."""


@dataclass(frozen=True)
class Identity:
    """Who a patient is. Not part of its representation, so that no log or traceback shows it."""

    patient_id: str = field(repr=False)
    issuer: str = field(repr=False)
    name: str = field(repr=False)
    birth_date: str = field(repr=False)
    sex: str = field(repr=False)
    shift_days: int = field(repr=False)
    """Days to take off a date of the archive to get the original one."""


class Vault:
    """The sealed identities of one node.

    Parameters
    ----------
    folder : Path
        Where the sealed files lie.
    key : bytes
        32 bytes: ``SiteKeys.derive("vault")``.
    """

    def __init__(self, folder: Path, key: bytes) -> None:
        self._folder = folder
        self._key = key
        self._kept: set[str] = set()

    @classmethod
    def open(cls, config: NodeConfig, keys: SiteKeys) -> Vault | None:
        """The node's vault, or None where the site keeps none (``deidentification.reidentification: false``)."""
        if not config.deidentification.reidentification:
            return None
        return cls(config.root / "vault", keys.derive("vault"))

    def remember(self, pseudonym: str, identity: Identity) -> None:
        """Keep an identity. Safe to repeat and to call from several processes: the first one stays."""
        path = self._path(pseudonym)
        if pseudonym not in self._kept and not path.exists():
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sealed = seal(json.dumps(asdict(identity)).encode(), self._key, _context(pseudonym))
            write_new(path, sealed)  # leaves the file of a process that was quicker
        self._kept.add(pseudonym)

    def reidentify(self, pseudonym: str, reason: str) -> Identity:
        """Look a patient up. The audit log has the time, the account, the pseudonym and ``reason`` before the answer.

        Raises
        ------
        NotInVault
            The pseudonym is unknown here, or its patient was forgotten.
        ValueError
            No reason was given.
        SealBroken
            The file was changed, or sealed under another key.
        """
        if not reason.strip():
            raise ValueError("say why: the reason becomes part of the audit log")
        path = self._path(pseudonym)
        found = path.exists()
        self._audit(pseudonym, reason.strip(), "found" if found else "unknown")
        if not found:
            raise NotInVault(
                f"{pseudonym} is not in this hospital's vault: another hospital made it, its patient was forgotten, "
                "or re-identification was off when it was archived"
            )
        return Identity(**json.loads(unseal(path.read_bytes(), self._key, _context(pseudonym))))

    def forget(self, pseudonym: str) -> None:
        """Destroy the way back. Safe to repeat."""
        self._kept.discard(pseudonym)
        self._path(pseudonym).unlink(missing_ok=True)

    def looks(self) -> Iterator[dict[str, Any]]:
        """The audit log, oldest first.

        Raises
        ------
        ValueError
            A line was changed, inserted or taken out.
        """
        previous = _START
        if not self._log.exists():
            return
        for number, line in enumerate(self._log.read_text(encoding="utf-8").splitlines(), start=1):
            entry: dict[str, Any] = json.loads(line)
            if entry.get("previous") != previous:
                raise ValueError(
                    f"{self._log}: line {number} does not follow from the one before: it was tampered with"
                )
            previous = hashlib.sha256(line.encode()).hexdigest()
            yield entry

    @property
    def _log(self) -> Path:
        return self._folder / "audit.jsonl"

    def _audit(self, pseudonym: str, reason: str, outcome: str) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lines = self._log.read_text(encoding="utf-8").splitlines() if self._log.exists() else []
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "account": getpass.getuser(),
            "pseudonym": pseudonym,
            "reason": reason,
            "outcome": outcome,
            "previous": hashlib.sha256(lines[-1].encode()).hexdigest() if lines else _START,
        }
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")
            log.flush()
            os.fsync(log.fileno())

    def _path(self, pseudonym: str) -> Path:
        if not pseudonym.isalnum():
            raise NotInVault("a pseudonym has letters and digits only")
        return self._folder / f"{pseudonym}.sealed"


def _context(pseudonym: str) -> bytes:
    return b"fedpacs vault " + pseudonym.encode()
