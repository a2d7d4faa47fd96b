from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from client_plugin.config import MetricsConfig, NodeConfig
from client_plugin.metrics.facts import Facts, FactsCollector, as_metrics, read_facts


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(site="site-a", kit=tmp_path)


class View:
    """What the archive's catalogue answers."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken

    def counts(self) -> dict[str, int]:
        if self.broken:
            raise OSError("no such table")
        keys = ("patients", "studies", "studies_open", "studies_sealed", "series", "instances", "bytes", "quarantine")
        return {key: number for number, key in enumerate(keys)}

    def backlog(self) -> tuple[int, datetime | None]:
        return 2, datetime.fromtimestamp(940, UTC)


def shown(facts: Facts, config: NodeConfig, now: float) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{v}}}" for v in sample.labels.values()): sample.value
        for metric in as_metrics(facts, config, now)
        for sample in metric.samples
    }


def test_a_reading_before_anything_was_stored(config: NodeConfig) -> None:
    facts = read_facts(config)
    assert facts.free_bytes > 0
    assert facts.certificates == {}


def test_certificates_are_read_from_the_kit(config: NodeConfig, tmp_path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(days=9)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site-a")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    certificate = builder.serial_number(1).not_valid_before(ends - timedelta(days=99)).not_valid_after(ends)
    (tmp_path / "startup").mkdir()
    pem = certificate.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (tmp_path / "startup" / "client.crt").write_bytes(pem)
    (tmp_path / "startup" / "rootCA.pem").write_text("not a certificate")
    assert read_facts(config).certificates == {"kit": ends.timestamp()}


def test_ages_grow_until_the_next_reading(config: NodeConfig) -> None:
    facts = replace(read_facts(config, View()), at=1000.0)
    values = shown(facts, config, 1010.0)
    assert values["fedpacs_facts_age_seconds"] == 10
    assert values["fedpacs_spool_oldest_age_seconds"] == 70
    assert values["fedpacs_spool_instances"] == 2
    assert values["fedpacs_studies{open}"] == 2
    assert values["fedpacs_studies{sealed}"] == 3
    assert values["fedpacs_archive_size_bytes"] == 6
    assert values["fedpacs_processes_expected{listener}"] == config.dicom.processes
    assert values["fedpacs_time_seconds"] == 1010


def test_only_processes_that_are_wanted_are_expected(config: NodeConfig) -> None:
    peer = {"ae_title": "PACS", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": 104}
    both = NodeConfig.model_validate(
        {**config.model_dump(), "kit": config.kit, "dicom": {"peers": [peer]}, "send": {"enabled": True}}
    )
    facts = read_facts(config)
    for role in ("puller", "sender"):
        assert f"fedpacs_processes_expected{{{role}}}" not in shown(facts, config, 0)
        assert shown(facts, both, 0)[f"fedpacs_processes_expected{{{role}}}"] == 1


def test_an_empty_spool_has_age_zero(config: NodeConfig) -> None:
    values = shown(read_facts(config), config, time.time())
    assert values["fedpacs_spool_oldest_age_seconds"] == 0
    assert "fedpacs_site_key_created_timestamp_seconds" not in values


def test_the_site_key_has_an_age(config: NodeConfig) -> None:
    config.key_file.parent.mkdir(parents=True)
    config.key_file.write_bytes(bytes(32))
    os.utime(config.key_file, (500, 500))
    assert shown(read_facts(config), config, 0)["fedpacs_site_key_created_timestamp_seconds"] == 500


def test_a_catalogue_that_breaks_leaves_the_last_reading_and_its_age(config: NodeConfig) -> None:
    view = View()
    often = config.model_copy(update={"metrics": MetricsConfig(facts_seconds=0.01)})
    collector = FactsCollector(often, view)
    collector.start()
    view.broken = True
    time.sleep(0.1)
    collector.stop()
    names = {metric.name: metric for metric in collector.collect()}
    assert names["fedpacs_archive_series"].samples[0].value == 4
    assert names["fedpacs_facts_age_seconds"].samples[0].value >= 0.05
