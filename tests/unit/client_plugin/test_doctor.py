import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from client_plugin import doctor
from client_plugin.config import DicomConfig, DicomPeer, IntakeConfig, NodeConfig
from client_plugin.doctor import Check, Outcome


def certificate(path: Path, days: float, made: timedelta = timedelta(days=1)) -> None:
    """A self-signed certificate that holds for ``days`` from now, and its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hospital-a")])
    now = datetime.now(UTC)
    made_at = now - made
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(made_at)
        .not_valid_after(max(now + timedelta(days=days), made_at + timedelta(seconds=1)))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    path.with_suffix(".key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    path.with_suffix(".key").chmod(0o600)


@pytest.fixture
def config(tmp_path: Path) -> NodeConfig:
    startup = tmp_path / "startup"
    startup.mkdir()
    certificate(startup / "client.crt", days=300)
    certificate(startup / "rootCA.pem", days=300)
    (startup / "fed_client.json").write_text('{"servers": [{"service": {"target": "127.0.0.1:1"}}]}')
    return NodeConfig(site="hospital-a", kit=tmp_path)


def only(checks: object, name: str) -> Check:
    (found,) = [c for c in checks if c.name == name]  # type: ignore[attr-defined]
    assert isinstance(found, Check)
    return found


def test_a_whole_kit_is_fine(config: NodeConfig) -> None:
    assert {c.outcome for c in doctor.check_kit(config)} == {Outcome.OK}


@pytest.mark.parametrize(("days", "outcome"), [(-0.5, Outcome.PROBLEM), (10, Outcome.WARNING), (300, Outcome.OK)])
def test_the_certificates_end_is_seen_in_time(config: NodeConfig, days: float, outcome: Outcome) -> None:
    certificate(config.kit / "startup" / "client.crt", days=days)
    assert only(doctor.check_kit(config), "client.crt").outcome is outcome


def test_a_torn_kit_is_named(config: NodeConfig) -> None:
    (config.kit / "startup" / "client.key").unlink()
    found = only(doctor.check_kit(config), "kit")
    assert found.outcome is Outcome.PROBLEM
    assert "client.key" in found.finding


def test_a_key_that_others_can_read(config: NodeConfig) -> None:
    (config.kit / "startup" / "client.key").chmod(0o644)
    assert only(doctor.check_kit(config), "kit key").outcome is Outcome.WARNING


def test_a_clock_before_the_kit(config: NodeConfig) -> None:
    certificate(config.kit / "startup" / "client.crt", days=300, made=timedelta(days=-2))
    assert only(doctor.check_clock(config), "clock").outcome is Outcome.PROBLEM


def test_too_little_room(config: NodeConfig) -> None:
    small = config.model_copy(update={"intake": IntakeConfig(min_free_bytes=1 << 60)})
    found = only(doctor.check_storage(small), "storage")
    assert found.outcome is Outcome.PROBLEM
    assert "min_free_bytes" in found.finding


def test_a_site_key_that_others_can_read(config: NodeConfig) -> None:
    config.key_file.parent.mkdir(parents=True)
    config.key_file.write_bytes(bytes(32))
    config.key_file.chmod(0o640)
    assert only(doctor.check_key(config), "site key").outcome is Outcome.PROBLEM


def test_a_port_taken_by_another_program(config: NodeConfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = config.model_copy(update={"dicom": DicomConfig(host="127.0.0.1", port=other.getsockname()[1])})
        assert only(doctor.check_ports(taken), "DICOM port").outcome is Outcome.PROBLEM


def test_no_peers_and_a_pacs_that_does_not_answer(config: NodeConfig) -> None:
    assert only(doctor.check_peers(config), "PACS").outcome is Outcome.PROBLEM
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    peer = DicomPeer(ae_title="PACS", addresses=("127.0.0.1",), host="127.0.0.1", port=port)
    silent = config.model_copy(update={"dicom": DicomConfig(peers=(peer,))})
    found = only(doctor.check_peers(silent), "PACS PACS")
    assert found.outcome is Outcome.PROBLEM
    assert "does not answer" in found.finding


def test_a_server_that_does_not_answer(config: NodeConfig) -> None:
    found = only(doctor.check_server(config), "server")
    assert found.outcome is Outcome.PROBLEM
    assert "127.0.0.1:1" in found.finding


def test_every_problem_has_a_cure(config: NodeConfig) -> None:
    assert all(check.cure for check in doctor.examine(config) if check.outcome is not Outcome.OK)
