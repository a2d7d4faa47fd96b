"""What the consortium's server counts: rounds, who contributed, sizes and seconds of adding up what it cannot read.

The workflow (in the job process) calls the plain functions below; :class:`ServerMetrics` (an NVFlare component of
the server's ``local/resources.json``) serves ``/metrics`` from the parent process and watches the sites' heartbeats.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from observability.instruments import (
    LONG_SECONDS,
    Counter,
    CounterBy,
    Gauge,
    GaugeBy,
    Histogram,
    Names,
)


class RoundOutcome(StrEnum):
    """How a round ended: with a sum; with fewer sites than it needs; with something that could not be added up."""

    COMPLETED = "completed"
    BELOW_QUORUM = "below_quorum"
    FAILED = "failed"


class UpdateOutcome(StrEnum):
    """What was done with a site's answer."""

    ADDED = "added"
    REFUSED = "refused"
    LATE = "late"


class SiteCount(StrEnum):
    """The three numbers that must not be confused."""

    REGISTERED = "registered"
    CONFIGURED = "configured"
    CONTRIBUTED = "contributed"


class JobEnd(StrEnum):
    """Changes of state of a job at the server; failed: it ended otherwise than it should, nobody having asked."""

    STARTED = "started"
    COMPLETED = "completed"
    ABORTED = "aborted"
    FAILED = "failed"


SITES = Names(limit=256)

ROUND = Gauge("fedpacs_server_round", "Round that the running job is in, counted from 1")
ROUNDS_PLANNED = Gauge("fedpacs_server_rounds_planned", "Rounds that the running job is to have")
ROUND_STARTED = Gauge("fedpacs_server_round_started_timestamp_seconds", "When the running round started; 0: none runs")
ROUND_TIMEOUT = Gauge("fedpacs_server_round_timeout_seconds", "How long a round may take before sites are dropped")
ROUNDS = CounterBy(
    "fedpacs_server_rounds_total",
    "Rounds by how they ended; below_quorum: too few sites answered, see site_rounds_missed",
    "outcome",
    RoundOutcome,
)
ROUND_SECONDS = Histogram("fedpacs_server_round_seconds", "From a round's tasks to its sum", buckets=LONG_SECONDS)
ROUND_SITES = GaugeBy(
    "fedpacs_server_round_sites",
    "Sites registered with the server, configured for the job, and whose update is in the last round's sum",
    "state",
    SiteCount,
)
SITE_MISSED = GaugeBy[str](
    "fedpacs_server_site_rounds_missed",
    "Rounds in a row that a configured site did not contribute to; from 2 on call the site",
    "site",
    SITES,
)
SITE_CONTRIBUTIONS = CounterBy[str](
    "fedpacs_server_site_contributions_total", "Rounds whose sum contains the site's update", "site", SITES
)
SITE_HEARTBEAT = GaugeBy[str](
    "fedpacs_server_site_last_heartbeat_timestamp_seconds", "When the server last heard from the site", "site", SITES
)
UPDATES = CounterBy(
    "fedpacs_server_updates_total", "Answers of sites by what was done with them", "outcome", UpdateOutcome
)
UPDATE_BYTES = Counter("fedpacs_server_update_bytes_total", "Bytes of encrypted updates that arrived")
SUM_BYTES = Counter("fedpacs_server_sum_bytes_total", "Bytes of encrypted sums that were sent to the sites")
ADD_SECONDS = Histogram("fedpacs_server_add_seconds", "Time to add one site's update to the sum")
AGGREGATION_FAILURES = Counter(
    "fedpacs_server_aggregation_failures_total", "Updates or sums that could not be added up or checked"
)
JOBS = CounterBy("fedpacs_server_jobs_total", "Jobs by the state they reached at the server", "state", JobEnd)


_missed: dict[str, int] = {}
_exemplar: dict[str, str] = {}


def of_job(job_id: str) -> None:
    """The rounds that follow are of this job: it stands as an exemplar beside the seconds of a round."""
    _exemplar["job"] = job_id


def round_started(number: int, planned: int, configured: Collection[str], timeout: float) -> None:
    """A round's tasks go out.

    Parameters
    ----------
    number
        Counted from 1.
    planned
        Rounds of the job.
    configured
        Names of the sites that take part in the job.
    timeout
        Seconds after which sites that have not answered are dropped.
    """
    ROUND.set(number)
    ROUNDS_PLANNED.set(planned)
    ROUND_STARTED.set_to_current_time()
    ROUND_TIMEOUT.set(timeout)
    ROUND_SITES.set(SiteCount.CONFIGURED, len(configured))
    if number == 1:
        _missed.clear()
        ROUND_SITES.set(SiteCount.CONTRIBUTED, 0)
        for site in configured:
            SITE_MISSED.set(site, 0)


def update_received(outcome: UpdateOutcome, size: int, add_seconds: float | None = None) -> None:
    """A site answered: ``size`` in bytes on the wire; ``add_seconds`` when it was added to the sum."""
    UPDATES.inc(outcome)
    UPDATE_BYTES.inc(size)
    if add_seconds is not None:
        ADD_SECONDS.observe(add_seconds)


def sum_sent(size: int) -> None:
    """An encrypted sum of ``size`` bytes went to one site."""
    SUM_BYTES.inc(size)


def aggregation_failed() -> None:
    """An update or a sum could not be added up or checked."""
    AGGREGATION_FAILURES.inc()


def round_ended(
    outcome: RoundOutcome, configured: Collection[str], contributed: Collection[str], seconds: float
) -> None:
    """A round is over; the sites in ``configured`` that are not in ``contributed`` missed it."""
    ROUNDS.inc(outcome)
    ROUND_SECONDS.observe(seconds, _exemplar or None)
    ROUND_STARTED.set(0)
    ROUND_SITES.set(SiteCount.CONTRIBUTED, len(contributed))
    for site in configured:
        if site in contributed:
            _missed[site] = 0
            SITE_CONTRIBUTIONS.inc(site)
        else:
            _missed[site] = _missed.get(site, 0) + 1
        SITE_MISSED.set(site, _missed[site])


def sites_registered(last_heartbeats: dict[str, float]) -> None:
    """The sites that are registered now and when each was last heard, in seconds since 1970."""
    ROUND_SITES.set(SiteCount.REGISTERED, len(last_heartbeats))
    for site, when in last_heartbeats.items():
        SITE_HEARTBEAT.set(site, when)


def job_changed(state: JobEnd) -> None:
    """A job started, or ended in one of three ways."""
    JOBS.inc(state)


def start() -> None:
    """Show the server's counters and histograms at zero."""
    for by in (ROUNDS, UPDATES, JOBS):
        by.start()
    for one in (UPDATE_BYTES, SUM_BYTES, AGGREGATION_FAILURES, ROUND_SECONDS, ADD_SECONDS):
        one.start()
