from __future__ import annotations

import os
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from client_plugin.config import NodeConfig
from client_plugin.metrics.facts import Facts, FactsCollector, Spool, as_metrics, read_facts, read_spool


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    return NodeConfig(site="site-a", kit=tmp_path)


def shown(facts: Facts, now: float) -> dict[str, float]:
    return {
        sample.name + "".join(f"{{{v}}}" for v in sample.labels.values()): sample.value
        for metric in as_metrics(facts, now)
        for sample in metric.samples
    }


def test_the_spool_counts_what_waits_and_not_what_is_being_written(tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    old = tmp_path / "ab" / "one"
    old.write_bytes(bytes(100))
    os.utime(old, (1000, 1000))
    (tmp_path / "two").write_bytes(bytes(50))
    (tmp_path / "three.part").write_bytes(bytes(7))
    (tmp_path / ".four").write_bytes(bytes(7))
    assert read_spool(tmp_path) == Spool(instances=2, bytes=150, oldest=1000)


def test_no_spool_yet(tmp_path: Path) -> None:
    assert read_spool(tmp_path / "missing") == Spool()


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


def test_ages_grow_until_the_next_reading() -> None:
    facts = Facts(
        at=1000.0, free_bytes=5, total_bytes=10, spool=Spool(2, 20, 940.0), catalogue_bytes=3, counts={"studies": 4}
    )
    values = shown(facts, 1010.0)
    assert values["fedpacs_facts_age_seconds"] == 10
    assert values["fedpacs_spool_oldest_age_seconds"] == 70
    assert values["fedpacs_catalogue_rows{studies}"] == 4


def test_an_empty_spool_has_age_zero() -> None:
    facts = Facts(at=0.0, free_bytes=5, total_bytes=10, spool=Spool(), catalogue_bytes=0)
    assert shown(facts, 99.0)["fedpacs_spool_oldest_age_seconds"] == 0


def test_a_catalogue_that_breaks_leaves_the_last_reading_and_its_age(config: NodeConfig) -> None:
    answers: list[Mapping[str, int]] = [{"studies": 1}]

    def counts() -> Mapping[str, int]:
        return answers.pop()

    collector = FactsCollector(config, counts, interval=0.01)
    collector.start()
    time.sleep(0.1)
    collector.stop()
    names = {metric.name: metric for metric in collector.collect()}
    assert names["fedpacs_catalogue_rows"].samples[0].value == 1
    assert names["fedpacs_facts_age_seconds"].samples[0].value >= 0.09
