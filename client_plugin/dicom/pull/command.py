"""What is behind ``fedpacs pull COHORT.yaml`` and ``fedpacs pulls``.

queued = find(config, cohort)            # C-FIND or QIDO-RS, into the job table
with Worker(config) as worker: ...       # works the table off, unless another process does already
progress(config, queued.job)             # for the live view
"""

from __future__ import annotations

import fcntl
import hmac
import secrets
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.models import PullState
from client_plugin.archive.pulls import Enqueued, NewPull, PullSummary
from client_plugin.archive.sealing import seal
from client_plugin.config import ConfigError, DicomPeer, NodeConfig
from client_plugin.dicom.pull.dicomweb import WebSource
from client_plugin.dicom.pull.dimse import DimseSource, GetSource
from client_plugin.dicom.pull.puller import Puller, target_context
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import FoundStudy, PullReason, Source
from client_plugin.dicom.storing import Store
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.spool import Spool
from client_plugin.intake.study_names import StudyNames
from client_plugin.intake.sweep import sweep

_LOCK = "pull.lock"
_WEB = "DICOMWEB"  # the name of a DICOMweb source that is no configured peer


@dataclass(frozen=True)
class Queued:
    """The studies of a cohort that are in the job table now, under this job."""

    job: str
    studies: Enqueued


@dataclass(frozen=True)
class Progress:
    """How far a job, or everything in the table, has got.

    Parameters
    ----------
    here, expected
        Instances; ``expected`` counts only studies whose source told.
    reasons
        Of failed studies, and of the last try of waiting ones: name → studies.
    next_try_at
        When the next waiting study is due; the window and the rate may make it later.
    """

    studies: int
    waiting: int
    running: int
    done: int
    failed: int
    here: int
    expected: int
    reasons: dict[str, int]
    next_try_at: datetime | None

    @property
    def over(self) -> bool:
        """Every study has come to its end."""
        return self.waiting + self.running == 0


def find(config: NodeConfig, query: PullQuery) -> Queued:
    """Ask the source for a cohort and put what it has into the job table.

    Raises
    ------
    ConfigError
        No source is configured.
    PullError
        The source could not be asked; its ``reason`` says why.
    """
    keys = SiteKeys.open(config)
    job = secrets.token_hex(4)
    with _opened(config) as catalogue, sources(config, keys, catalogue) as named:
        ((name, source),) = named.items()
        new = [new_pull(config, keys, name, found) for found in source.find(query)]
        return Queued(job, catalogue.enqueue_pulls(job, new, datetime.now(UTC)))


def new_pull(config: NodeConfig, keys: SiteKeys, source: str, found: FoundStudy) -> NewPull:
    """The row of a study that was found; what names it at its source is sealed or a keyed digest."""
    key = keys.derive("spool")
    digest = hmac.new(key, b"study " + found.study_uid.encode(), "sha256").hexdigest()
    return NewPull(
        study_digest=digest,
        study_uid=StudyNames(config, keys).here(found.study_uid),
        target=seal(found.study_uid.encode("ascii"), key, target_context(digest)),
        source=source,
        expected=found.instances,
    )


def work(config: NodeConfig, stop: threading.Event, *, until_empty: bool = True) -> bool:
    """Work the job table off until it is empty or ``stop`` is set.

    Returns
    -------
    bool
        False, at once, if another process is doing it.
    """
    with ExitStack() as stack:
        config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not stack.enter_context(_only_one(config.root / _LOCK)):
            return False
        keys = SiteKeys.open(config)
        catalogue = stack.enter_context(_opened(config))
        named = stack.enter_context(sources(config, keys, catalogue))
        spool = Spool(config.spool, keys.derive("spool"))
        puller = Puller(config.pull, catalogue, named, key=keys.derive("spool"), digest=spool.uid_digest)
        puller.run(stop, until_empty=until_empty)
    return True


def pulls(config: NodeConfig, job: str | None = None) -> list[PullSummary]:
    """The job table, or one job of it."""
    with _opened(config) as catalogue:
        return catalogue.pulls(job)


def cancel(config: NodeConfig, job: str) -> int:
    """Give up what waits of a job; returns how many studies."""
    with _opened(config) as catalogue:
        return catalogue.cancel_pulls(job, PullReason.CANCELLED, datetime.now(UTC))


def summarize(rows: list[PullSummary]) -> Progress:
    """The progress that some rows of the job table show."""
    states = Counter(row.state for row in rows)
    due = [row.next_try_at for row in rows if row.state is PullState.WAITING]
    return Progress(
        studies=len(rows),
        waiting=states[PullState.WAITING],
        running=states[PullState.RUNNING],
        done=states[PullState.DONE],
        failed=states[PullState.FAILED],
        here=sum(row.here for row in rows),
        expected=sum(row.expected or 0 for row in rows),
        reasons=dict(Counter(row.reason for row in rows if row.reason and row.state is not PullState.DONE)),
        next_try_at=min(due, default=None),
    )


def peer_to_call(config: NodeConfig) -> DicomPeer:
    """The configured peer ``pull.source``; if that is not set, the only one that can be called.

    Raises
    ------
    ConfigError
        There is none, or several to choose from.
    """
    can_be_called = [peer for peer in config.dicom.peers if peer.host is not None and peer.port is not None]
    found = [peer for peer in can_be_called if config.pull.source in (None, peer.ae_title)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(peer.ae_title for peer in can_be_called) or "none"
    raise ConfigError(f"pull.source must name a peer with host and port; dicom.peers has: {names}")


def asked_source(config: NodeConfig) -> Source:
    """The configured source, for questions only; raises `ConfigError`."""
    if config.pull.method == "dicomweb":
        return WebSource(config, config.pull.source or _WEB, None)
    return DimseSource(config, peer_to_call(config))


@contextmanager
def sources(config: NodeConfig, keys: SiteKeys, catalogue: Catalogue) -> Iterator[dict[str, Source]]:
    """The configured source under its name, with the intake it needs."""
    if config.pull.method == "dicomweb":
        with _intake(config, keys, catalogue) as store:
            name = config.pull.source or _WEB
            yield {name: WebSource(config, name, store)}
        return
    peer = peer_to_call(config)
    if config.pull.method == "c-move":
        yield {peer.ae_title: DimseSource(config, peer)}
        return
    with _intake(config, keys, catalogue) as store:
        yield {peer.ae_title: GetSource(config, peer, store)}


@contextmanager
def _intake(config: NodeConfig, keys: SiteKeys, catalogue: Catalogue) -> Iterator[Store]:
    """This process as a writer of the spool, like a listener's."""
    spool = Spool(config.spool, keys.derive("spool"))
    sweep(spool, catalogue)
    try:
        yield Store(spool, GroupCommitter(spool, catalogue), catalogue, config.intake.min_free_bytes)
    finally:
        spool.close()


@contextmanager
def _opened(config: NodeConfig) -> Iterator[Catalogue]:
    catalogue = Catalogue.open(config.catalogue_url)
    try:
        yield catalogue
    finally:
        catalogue.close()


@contextmanager
def _only_one(path: Path) -> Iterator[bool]:
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
