from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from sqlalchemy import update

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.models import Received, ReceivedState
from client_plugin.archive.received import NewReceived
from client_plugin.config import NodeConfig, StatusPageConfig
from client_plugin.status_page.gather import arrivals, gather, gauges, latest_job, quarantined

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)


class Reason(StrEnum):
    UNREADABLE = "unreadable"


def received(number: int, peer: str = "PACS", at: datetime = NOW) -> NewReceived:
    return NewReceived(
        spool_name=f"{number}-{number:032x}", uid_digest=f"{number:064x}", content_digest=f"{number:064x}",
        sop_class_uid="1.2.840.10008.5.1.4.1.1.2", transfer_syntax_uid="1.2.840.10008.1.2.1", size=10,
        source_ae=peer, received_at=at,
    )  # fmt: skip


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    yield opened
    opened.close()


def test_arrivals_of_today_by_peer_and_fate(catalogue: Catalogue) -> None:
    yesterday = NOW - timedelta(days=1)
    catalogue.record_received([received(1), received(2), received(3, "CT1"), received(4, at=yesterday)])
    rows = {row.spool_name[0]: row for row in catalogue.claim("w", 10)}
    with catalogue.writing() as session:
        session.execute(update(Received).where(Received.id == rows["1"].id).values(state=ReceivedState.DONE))
    catalogue.quarantine(rows["2"], Reason.UNREADABLE)
    found = {row.peer: row for row in arrivals(catalogue, NOW.replace(hour=0))}
    assert (found["PACS"].archived, found["PACS"].waiting, found["PACS"].set_aside) == (1, 0, 1)
    assert (found["CT1"].archived, found["CT1"].waiting) == (0, 1)


def test_quarantine_is_grouped_with_its_cure(catalogue: Catalogue) -> None:
    for number in range(3):
        catalogue.record_quarantined(received(number), Reason.UNREADABLE)
    catalogue.record_quarantined(received(9, "CT1"), Reason.UNREADABLE)
    groups = quarantined(catalogue)
    assert [(g.reason, g.peer, g.count) for g in groups] == [("unreadable", "PACS", 3), ("unreadable", "CT1", 1)]
    assert groups[0].latest == NOW
    assert "send it again" in groups[0].cure


def test_the_job_that_trained_last(tmp_path: Path) -> None:
    assert latest_job(tmp_path, running=False) is None
    (tmp_path / "job-1").mkdir()
    lines = [{"round": 1, "loss": 1.5, "balanced_accuracy": 0.2, "seconds": 3.0}, {"round": 2, "loss": 1.0}]
    written = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "job-1" / "rounds.jsonl").write_text(written + '{"round": 3, "lo')
    (tmp_path / "job-1" / "sums.jsonl").write_text('{"round": 1, "sites": ["site-a", "site-b"]}\n')
    job = latest_job(tmp_path, running=True)
    assert job is not None
    assert (job.job, job.running) == ("job-1", True)
    first, second = job.rounds
    assert (first.number, first.loss, first.quality, first.sites) == (1, 1.5, 0.2, ("site-a", "site-b"))
    assert (second.number, second.loss, second.quality, second.sites) == (2, 1.0, None, None)
    assert job.latest_sum == first


def test_gauges_by_name_and_label() -> None:
    by_role = GaugeMetricFamily("fedpacs_processes", "p", labels=["role"])
    by_role.add_metric(["listener"], 2)
    found = gauges([by_role, GaugeMetricFamily("fedpacs_x", "x", value=1), CounterMetricFamily("fedpacs_y", "y", 3)])
    assert found == {"fedpacs_processes listener": 2, "fedpacs_x": 1}


def test_a_look_at_a_new_node(catalogue: Catalogue, tmp_path: Path) -> None:
    config = NodeConfig(site="site-a", kit=tmp_path, status_page=StatusPageConfig(alertmanager="http://127.0.0.1:1"))
    status = gather(config, catalogue, lambda: {"fedpacs_federation_connected": 1.0}, NOW)
    assert status.arrivals == status.studies == status.waiting == status.set_aside == ()
    assert status.job is None
    assert [problem.what for problem in status.problems] == [
        "2 listener process(es) do not run",
        "1 worker process(es) do not run",
    ]
