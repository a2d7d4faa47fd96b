"""Collects what the page says: from the catalogue, the disk, the node's metrics, job folders and the monitoring."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from sqlalchemy import func, select

from client_plugin.archive import models
from client_plugin.archive.catalogue import Catalogue
from client_plugin.config import NodeConfig
from client_plugin.metrics.facts import read_facts
from client_plugin.status_page import alerts
from client_plugin.status_page.cures import cure
from client_plugin.status_page.model import Arrival, Job, Round, SetAside, Status, Study, problems, waiting

STUDIES_SHOWN = 20
ROUNDS_FILE, SUMS_FILE = "rounds.jsonl", "sums.jsonl"  # what the executor leaves in the folder of a job

Figures = Callable[[], Mapping[str, float]]


def gather(config: NodeConfig, catalogue: Catalogue, figures: Figures, now: datetime) -> Status:
    """Take one look at everything.

    Parameters
    ----------
    figures
        Current values of the node's gauges (:func:`gauges`).
    now
        Aware; *today* is the day of its time zone.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    facts = read_facts(config, catalogue)
    values = figures()
    set_aside = quarantined(catalogue)
    firing, firing_note = alerts.firing(config.status_page.alertmanager, config.site)
    ended, ended_note = alerts.ended(config.status_page.prometheus, config.site, now)
    return Status(
        site=config.site,
        at=now,
        problems=tuple(problems(config, facts, values)),
        arrivals=tuple(arrivals(catalogue, midnight)),
        studies=tuple(studies(catalogue, midnight)),
        waiting=tuple(waiting(facts, config, set_aside)),
        set_aside=tuple(set_aside),
        job=latest_job(config.models, running=values.get("fedpacs_jobs_running", 0) > 0),
        alerts=firing,
        alerts_note=firing_note,
        ended=ended,
        ended_note=ended_note,
    )


def arrivals(catalogue: Catalogue, since: datetime) -> list[Arrival]:
    """Instances received since then, by peer."""
    row, states = models.Received, models.ReceivedState
    query = select(row.source_ae, row.state, func.count()).where(row.received_at >= since)
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with catalogue.reading() as session:
        for peer, state, count in session.execute(query.group_by(row.source_ae, row.state)):
            counts[peer][str(state)] += count
    return [
        Arrival(
            peer=peer,
            archived=by[states.DONE],
            waiting=by[states.PENDING] + by[states.CLAIMED],
            set_aside=by[states.QUARANTINED],
        )
        for peer, by in sorted(counts.items())
    ]


def studies(catalogue: Catalogue, since: datetime) -> list[Study]:
    """The latest studies that grew since then."""
    query = (
        select(
            models.Patient.pseudonym,
            models.Study.state,
            models.Study.last_received,
            func.count(models.Series.id.distinct()),
            func.count(models.Instance.id),
            func.group_concat(models.Series.modality.distinct())
            if catalogue.dialect == "sqlite"
            else func.string_agg(models.Series.modality.distinct(), ","),
        )
        .join(models.Study.patient)
        .join(models.Study.series)
        .join(models.Series.instances)
        .where(models.Study.last_received >= since)
        .group_by(models.Study.id, models.Patient.pseudonym)
        .order_by(models.Study.last_received.desc())
        .limit(STUDIES_SHOWN)
    )
    with catalogue.reading() as session:
        return [
            Study(pseudonym, tuple(sorted((modalities or "").split(","))), series, instances, str(state), received)
            for pseudonym, state, received, series, instances, modalities in session.execute(query)
        ]


def quarantined(catalogue: Catalogue) -> list[SetAside]:
    """What is in quarantine, the largest group first."""
    row = models.Quarantine
    query = (
        select(row.reason, row.source_ae, func.count(), func.max(row.quarantined_at))
        .group_by(row.reason, row.source_ae)
        .order_by(func.count().desc(), row.reason)
    )
    with catalogue.reading() as session:
        return [
            SetAside(reason, peer, count, latest, cure(reason))
            for reason, peer, count, latest in session.execute(query)
        ]


def latest_job(folder: Path, *, running: bool) -> Job | None:
    """The job that wrote its rounds last."""
    files = sorted(folder.glob(f"*/{ROUNDS_FILE}"), key=lambda path: path.stat().st_mtime)
    if not files:
        return None
    path = files[-1]
    # A site learns with the next round's task who was in the sum of the one before.
    sums = {row["round"]: tuple(row["sites"]) for row in _rows(path.with_name(SUMS_FILE))}
    rounds = tuple(
        Round(
            number=row["round"],
            loss=row.get("loss"),
            quality=row.get("balanced_accuracy", row.get("dice")),
            seconds=row.get("seconds"),
            sites=sums.get(row["round"]),
        )
        for row in _rows(path)
    )
    return Job(path.parent.name, running, rounds, datetime.fromtimestamp(path.stat().st_mtime, UTC))


def _rows(path: Path) -> list[dict[str, Any]]:
    """Lines of JSON; the last one may still be on its way to the disk."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def gauges(metrics: Iterable[Metric]) -> dict[str, float]:
    """Gauges by name; one with a single label as ``name value``."""
    found = {}
    for metric in metrics:
        if metric.type == "gauge":
            for sample in metric.samples:
                found[" ".join([sample.name, *sample.labels.values()])] = sample.value
    return found
