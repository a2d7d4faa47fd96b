"""Alerts of the consortium that fire because something is really wrong in a real federation.

Three hospitals add up small vectors in a job; one after the other, processes of it are stopped. Rules as in
``test_alerts_for_real``: the shipped ones, with durations sixty times shorter.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import pytest

from server_config.monitoring.stack import Monitoring, Target, free_ports
from tests.federation.consortium import Consortium
from tests.federation.jobs import job
from tests.integration.monitoring.world import OnCall, query, until, watching

pytestmark = pytest.mark.federation

SITES = ("hospital-a", "hospital-b", "hospital-c")
PATIENCE = 90.0


@dataclass
class Federation:
    """A running job, and who watches it."""

    consortium: Consortium
    job: str
    on_call: OnCall
    monitoring: Monitoring
    stopped: list[psutil.Process] = field(default_factory=list)

    def stop_training(self, *participants: str) -> list[psutil.Process]:
        """Stop the job processes of sites or of the server (``localhost``), as a hang would: they stay there."""
        found = [process for name in participants for process in self._job_processes(name)]
        assert len(found) >= len(participants), f"no job process of {participants}"
        for process in found:
            process.suspend()
        self.stopped += found
        return found

    def value(self, metric: str) -> float:
        (sample,) = query(self.monitoring, metric)
        return float(sample["value"][1])

    def _job_processes(self, participant: str) -> Iterator[psutil.Process]:
        kit = str(self.consortium.kit(participant))
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if self.job in line and kit in line and "_process" in line:
                    yield process


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    folder = tmp_path_factory.mktemp("federation")
    (port,) = free_ports(1)
    endpoint = {"id": "metrics", "path": "server_config.exporter.ServerMetrics", "args": {"port": port}}
    consortium = Consortium(folder, SITES, server_components=[endpoint])
    consortium.provision()
    on_call = OnCall()
    with watching(folder / "monitoring", [Target(f"127.0.0.1:{port}")], on_call.url) as monitoring:
        one = Federation(consortium, "", on_call, monitoring)
        try:
            consortium.start()
            one.job = consortium.submit(*job(executor={"pace": 1.0}, server={"num_rounds": 100, "round_timeout": 5}))
            until(lambda: query(monitoring, "fedpacs_server_round >= 2"), PATIENCE, "the second round")
            yield one
        finally:
            for process in one.stopped:
                with suppress(psutil.Error):
                    process.kill()
            consortium.stop()
            on_call.stop()


def test_a_site_that_stops_training_is_reported_while_the_others_go_on(federation: Federation) -> None:
    assert federation.on_call.alerts == []
    federation.stop_training("hospital-c")
    (alert, *_) = until(lambda: federation.on_call.told("SiteNotContributing"), PATIENCE, "SiteNotContributing")
    assert alert["labels"]["site"] == "hospital-c"
    assert alert["labels"]["severity"] == "page"
    assert "missed" in alert["annotations"]["summary"]
    # Its NVFlare client lives and is registered: three numbers, and only one of them tells.
    for state, count in {"registered": 3, "configured": 3, "contributed": 2}.items():
        assert federation.value(f'fedpacs_server_round_sites{{state="{state}"}}') == count
    assert federation.value('fedpacs_server_rounds_total{outcome="below_quorum"}') == 0


def test_a_workflow_that_hangs_is_reported(federation: Federation) -> None:
    until(lambda: _hangs_within_a_round(federation), PATIENCE, "a stop within a round")
    until(lambda: federation.on_call.told("RoundOverdue"), PATIENCE, "RoundOverdue")


def _hangs_within_a_round(federation: Federation) -> bool:
    """Stop the workflow; when that came between two rounds, let it go on."""
    started = "fedpacs_server_round_started_timestamp_seconds"
    until(lambda: federation.value(started) > 0, PATIENCE, "a round")
    processes = federation.stop_training("localhost")
    scraped = federation.value(f"timestamp({started})")
    until(lambda: federation.value(f"timestamp({started})") > scraped + 1, 10, "a scrape")
    if federation.value(started) > 0:
        return True
    for process in processes:
        process.resume()
    return False


def test_a_round_without_a_quorum_is_reported(federation: Federation) -> None:
    workflow = federation.stopped[-1]
    federation.stop_training("hospital-a", "hospital-b")
    workflow.resume()
    (alert, *_) = until(lambda: federation.on_call.told("AggregationFailing"), PATIENCE, "AggregationFailing")
    assert alert["labels"]["audience"] == "consortium"
    until(lambda: federation.value('fedpacs_server_jobs_total{state="failed"}') == 1, PATIENCE, "the end of the job")
    assert federation.value('fedpacs_server_jobs_total{state="completed"}') == 0


def test_a_killed_server_is_reported(federation: Federation) -> None:
    os.killpg(federation.consortium.processes["localhost"].pid, signal.SIGKILL)
    until(lambda: federation.on_call.told("ServerDown"), PATIENCE, "ServerDown")
