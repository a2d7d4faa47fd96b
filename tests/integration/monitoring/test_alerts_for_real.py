"""Alerts that fire because something is really wrong: from the node over Prometheus and Alertmanager to a webhook.

The rules are the shipped ones with durations sixty times shorter (``faster_rules``); thresholds and expressions are
as shipped.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from server_config.monitoring.stack import free_ports
from tests.integration.monitoring.world import Node, OnCall, pacs, planted_ct, planted_pdf, until, watching, write_kit

pytestmark = pytest.mark.integration

PATIENCE = 60.0


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)], check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def on_call() -> Iterator[OnCall]:
    receiver = OnCall()
    yield receiver
    receiver.stop()


@pytest.fixture(scope="module")
def node(small_disk: Path, on_call: OnCall, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node on the small disk, outside any federation, whose certificate ends in ten days, watched by Prometheus."""
    prometheus, alertmanager = free_ports(2)
    kit = write_kit(
        tmp_path_factory.mktemp("site") / "kit",
        certificate_days=10,
        storage=str(small_disk / "node"),
        status_page={
            "alertmanager": f"http://127.0.0.1:{alertmanager}",
            "prometheus": f"http://127.0.0.1:{prometheus}",
        },
    )
    running = Node(kit)
    folder = tmp_path_factory.mktemp("monitoring")
    with watching(folder, [running.target], on_call.url, ports=(prometheus, alertmanager)):
        yield running
    running.stop()


def test_a_node_that_never_joined_is_reported(node: Node, on_call: OnCall) -> None:
    (alert, *_) = until(lambda: on_call.told("NotInFederation"), PATIENCE, "NotInFederation")
    assert alert["labels"]["site"] == "site-a"
    assert alert["labels"]["severity"] == "page"
    assert "not in the federation" in alert["annotations"]["summary"]


def test_the_status_page_shows_the_alerts_of_its_site_and_of_none(node: Node, on_call: OnCall) -> None:
    until(lambda: on_call.told("NotInFederation"), PATIENCE, "NotInFederation")
    assert '<th scope="row">NotInFederation</th>' in node.page()
    config = yaml.safe_load((node.kit / "local" / "fedpacs.yaml").read_text())
    others = [{"labels": {"alertname": "OfAnother", "site": "site-b"}}, {"labels": {"alertname": "OfTheServer"}}]
    tell = urllib.request.Request(  # noqa: S310 - our own address
        f"{config['status_page']['alertmanager']}/api/v2/alerts",
        data=json.dumps(others).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(tell, timeout=10):  # noqa: S310
        until(lambda: "OfTheServer" in node.page(), PATIENCE, "the server's alert on the page")
    assert "OfAnother" not in node.page()


def test_a_certificate_that_ends_soon_is_reported(node: Node, on_call: OnCall) -> None:
    (alert, *_) = until(lambda: on_call.told("CertificateExpiring"), PATIENCE, "CertificateExpiring")
    assert alert["labels"]["certificate"] == "kit"
    assert "9d" in alert["annotations"]["summary"]


def test_a_stalled_pacs_is_reported_and_its_return_is_told(node: Node, on_call: OnCall, tmp_path: Path) -> None:
    with pacs(node, tmp_path / "pacs") as process:
        up = 'fedpacs_peer_up{peer="PACS"}'
        until(lambda: node.value(up) == 1, PATIENCE, "the PACS' answer")
        os.kill(process.pid, signal.SIGSTOP)  # it accepts connections and says nothing
        (alert, *_) = until(lambda: on_call.told("PacsUnreachable"), PATIENCE, "PacsUnreachable")
        assert alert["labels"]["peer"] == "PACS"
        os.kill(process.pid, signal.SIGCONT)
        until(lambda: on_call.told("PacsUnreachable", "resolved"), PATIENCE, "the end of PacsUnreachable")
    firing, _, over = node.page().partition("that are over</caption>")
    assert '<th scope="row">PacsUnreachable</th>' in over
    assert '<th scope="row">PacsUnreachable</th>' not in firing
    assert '<th scope="row">NotInFederation</th>' not in over


def test_a_stuck_worker_stalls_the_ingest_and_its_recovery_is_told(node: Node, on_call: OnCall, tmp_path: Path) -> None:
    (worker,) = node.children("client_plugin.intake.worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        node.send(planted_ct(tmp_path / "ct", 5))
        until(lambda: on_call.told("IngestStalled"), PATIENCE, "IngestStalled")
    finally:
        os.kill(worker, signal.SIGCONT)
    until(lambda: on_call.told("IngestStalled", "resolved"), PATIENCE, "the end of IngestStalled")
    assert node.value('fedpacs_processed_instances_total{outcome="archived"}') == 5


def test_a_burst_of_quarantined_instances_is_reported(node: Node, on_call: OnCall, tmp_path: Path) -> None:
    node.send(planted_pdf(tmp_path / "pdf", 30))
    until(lambda: on_call.told("QuarantineBurst"), PATIENCE, "QuarantineBurst")
    until(lambda: on_call.told("DeidentificationFailing"), PATIENCE, "DeidentificationFailing")


def test_a_full_disk_is_reported_and_the_pacs_keeps_its_images(
    node: Node, on_call: OnCall, small_disk: Path, tmp_path: Path
) -> None:
    filler = small_disk / "filler"
    free = os.statvfs(small_disk)
    filler.write_bytes(bytes(free.f_bavail * free.f_frsize - (512 << 10)))  # half of the reserve is left
    until(lambda: on_call.told("DiskLow"), PATIENCE, "DiskLow")
    node.send(planted_ct(tmp_path / "ct", 1), expect=1)
    assert node.value('fedpacs_association_rejects_total{reason="disk_low"}') == 1
    filler.unlink()
    until(lambda: on_call.told("DiskLow", "resolved"), PATIENCE, "the end of DiskLow")
    node.send(planted_ct(tmp_path / "again", 1))


def test_a_killed_node_is_reported_and_its_other_alerts_are_silenced(node: Node, on_call: OnCall) -> None:
    node.process.kill()
    node.process.wait()
    until(lambda: on_call.told("NodeDown"), PATIENCE, "NodeDown")
    assert {alert["labels"]["severity"] for alert in on_call.told("NodeDown")} == {"page"}
