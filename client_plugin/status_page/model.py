"""What the page says, as plain values, and the judgement what of it is a problem. No I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from client_plugin.config import NodeConfig
from client_plugin.metrics.facts import Facts

SPOOL_PATIENCE = timedelta(minutes=15)
HEARTBEAT_PATIENCE = timedelta(minutes=5)
EXPIRY_NOTICE = timedelta(days=30)


@dataclass(frozen=True)
class Problem:
    """Something that is wrong, and what cures it."""

    what: str
    cure: str


@dataclass(frozen=True)
class Arrival:
    """What one peer sent today, in instances."""

    peer: str
    archived: int
    waiting: int
    set_aside: int


@dataclass(frozen=True)
class Study:
    """A study that grew today, under its pseudonym."""

    pseudonym: str
    modalities: tuple[str, ...]
    series: int
    instances: int
    state: str
    last_received: datetime


@dataclass(frozen=True)
class Waiting:
    """Something that waits, and for whom or what."""

    count: int
    what: str
    whom: str
    since: datetime | None = None


@dataclass(frozen=True)
class SetAside:
    """Instances in quarantine for one reason, from one peer."""

    reason: str
    peer: str
    count: int
    latest: datetime
    cure: str


@dataclass(frozen=True)
class Round:
    """One round of a job at this site; ``sites``: whose updates are in its sum, None while this is not known."""

    number: int
    loss: float | None
    quality: float | None
    seconds: float | None
    sites: tuple[str, ...] | None


@dataclass(frozen=True)
class Job:
    """A job that trained here: running, or the last one that did."""

    job: str
    running: bool
    rounds: tuple[Round, ...]
    changed: datetime

    @property
    def latest_sum(self) -> Round | None:
        """The last round of which it is known who was in its sum."""
        return next((each for each in reversed(self.rounds) if each.sites is not None), None)


@dataclass(frozen=True)
class Alert:
    """One alert of Alertmanager's."""

    name: str
    severity: str
    summary: str
    since: datetime


@dataclass(frozen=True)
class EndedAlert:
    """One alert that fired and is over."""

    name: str
    severity: str
    since: datetime
    until: datetime


@dataclass(frozen=True)
class Status:
    """Everything on the page.

    ``alerts`` is None when no Alertmanager is configured or it does not answer; the same of ``ended`` and Prometheus.
    """

    site: str
    at: datetime
    problems: tuple[Problem, ...]
    arrivals: tuple[Arrival, ...]
    studies: tuple[Study, ...]
    waiting: tuple[Waiting, ...]
    set_aside: tuple[SetAside, ...]
    job: Job | None
    alerts: tuple[Alert, ...] | None
    alerts_note: str
    ended: tuple[EndedAlert, ...] | None
    ended_note: str


def problems(config: NodeConfig, facts: Facts, figures: Mapping[str, float]) -> list[Problem]:
    """What is wrong with the node, gravest first.

    Parameters
    ----------
    facts
        A reading of disk, catalogue and certificates.
    figures
        Values of gauges without labels, and of ``fedpacs_processes`` by role as ``fedpacs_processes listener``.
    """
    found = []
    if facts.free_bytes < config.intake.min_free_bytes:
        found.append(
            Problem("The disk is full: the listener rejects the PACS", "Free space below storage; see DiskLow.")
        )
    for role, expected in (("listener", config.dicom.processes), ("worker", config.intake.workers)):
        missing = expected - round(figures.get(f"fedpacs_processes {role}", 0))
        if missing > 0:
            found.append(Problem(f"{missing} {role} process(es) do not run", "See ProcessMissing, and fedpacs doctor."))
    if not figures.get("fedpacs_federation_connected", 0):
        found.append(
            Problem(
                "This node is not in its federation: it takes part in no job", "See NotInFederation in the runbook."
            )
        )
    elif facts.at - figures.get("fedpacs_federation_last_heartbeat_timestamp_seconds", facts.at) > (
        HEARTBEAT_PATIENCE.total_seconds()
    ):
        found.append(Problem("The server has not answered for minutes", "See NotInFederation in the runbook."))
    if facts.oldest is not None and facts.at - facts.oldest > SPOOL_PATIENCE.total_seconds():
        found.append(Problem("Received images are not processed", "See IngestStalled and SpoolAgeing."))
    for name, ends in sorted(facts.certificates.items()):
        left = datetime.fromtimestamp(ends, UTC) - datetime.fromtimestamp(facts.at, UTC)
        if left < EXPIRY_NOTICE:
            when = "has ended" if left < timedelta() else f"ends in {left.days} day(s)"
            found.append(Problem(f"The {name} certificate {when}", "See CertificateExpiring in the runbook."))
    return found


def waiting(facts: Facts, config: NodeConfig, set_aside: Sequence[SetAside]) -> list[Waiting]:
    """What waits for whom; nothing that does not."""
    quiet = f"{config.intake.quiet_seconds:.0f} s without news, then sealed for training"
    rows = [
        Waiting(
            facts.waiting,
            "received instances",
            "an intake worker",
            datetime.fromtimestamp(facts.oldest, UTC) if facts.oldest is not None else None,
        ),
        Waiting(facts.counts.get("studies_open", 0), "open studies", quiet),
        Waiting(
            sum(row.count for row in set_aside),
            "instances in quarantine",
            "the data steward",
            max((row.latest for row in set_aside), default=None),
        ),
    ]
    return [row for row in rows if row.count]
