"""Every series that a node shows after real work: bounded, from closed labels, and without an identifier."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from client_plugin.config import NodeConfig
from tests.integration.monitoring.world import PLANTED, Node, planted_ct, planted_pdf, until, write_kit
from tests.series import LIMIT, is_closed

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has received, archived, refused, quarantined and doubly received planted patients' images."""
    folder = tmp_path_factory.mktemp("node")
    node = Node(write_kit(folder / "kit"))
    files = planted_ct(folder / "ct", 8)
    node.send(files)
    node.send(files[:2])  # duplicates
    node.send(planted_pdf(folder / "pdf", 3))
    subprocess.run(
        ["storescu", "-aet", "ZUCKERBERGER", "-aec", "FEDPACS", "127.0.0.1", str(node.dicom_port), str(files[0])],
        capture_output=True,
        check=False,
    )
    archived = 'fedpacs_processed_instances_total{outcome="archived"}'
    set_aside = 'fedpacs_quarantined_instances_total{reason="unsupported-content"}'
    until(lambda: node.value(archived) == 8, 60, "the archive")
    until(lambda: node.value(set_aside) == 3, 30, "the quarantine")
    until(lambda: (node.value("fedpacs_archive_instances") or 0) == 8, 30, "a reading of the catalogue")
    yield node
    node.stop()


def test_the_work_is_counted(worked: Node) -> None:
    assert worked.value('fedpacs_received_instances_total{outcome="stored"}') == 11
    assert worked.value('fedpacs_received_instances_total{outcome="duplicate"}') == 2
    assert worked.value('fedpacs_quarantined_instances_total{reason="unsupported-content"}') == 3
    assert worked.value('fedpacs_association_rejects_total{reason="unknown_calling_ae"}') == 1
    assert worked.value('fedpacs_receive_seconds_count{outcome="stored"}') == 11
    assert (worked.value('fedpacs_deidentification_actions_total{action="X"}') or 0) >= 8


def test_series_are_few(worked: Node) -> None:
    lines = [line for line in worked.scrape().splitlines() if line and not line.startswith("#")]
    assert 200 < len(lines) < LIMIT


def test_every_label_value_is_of_its_closed_set(worked: Node) -> None:
    for family in parse(worked.scrape()):
        for sample in family.samples:
            for label, value in sample.labels.items():
                assert is_closed(sample.name, label, value, peers={"PACS"}, sites=()), (sample.name, label, value)


def test_every_family_has_help_and_both_formats_can_be_parsed(worked: Node) -> None:
    for family in parse(worked.scrape()):
        assert len(family.documentation) > 3, family.name
    accept = "application/openmetrics-text; version=1.0.0"
    assert {"fedpacs_spool_instances", "fedpacs_build"} <= {f.name for f in parse_openmetrics(worked.scrape(accept))}


def test_events_of_an_association_carry_its_number(worked: Node) -> None:
    file = NodeConfig.load(worked.kit).root / "logs" / "listener.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    begun = [event["association"] for event in events if event["event"] == "association accepted"]
    ended = [event["association"] for event in events if event["event"] == "association ended"]
    assert len(set(begun)) == len(begun) == 3
    assert sorted(begun) == sorted(ended)


def test_no_identifier_is_in_a_metric_or_a_log(worked: Node) -> None:
    logs = sorted(NodeConfig.load(worked.kit).root.glob("logs/*"))
    assert {"listener.jsonl", "worker.jsonl"} <= {path.name for path in logs}
    texts = {path.name: path.read_text() for path in logs} | {"metrics": worked.scrape()}
    assert "association accepted" in texts["listener.jsonl"]
    for name, text in texts.items():
        for identifier in PLANTED:
            assert identifier not in text.upper(), (name, identifier)
        # No UID at all: not an original one, and not a new one that would link logs to data.
        assert not re.search(r"\b[0-2](\.\d+){6,}\b", text), name
