import ssl
from pathlib import Path

import pytest

from client_plugin.config import ConfigError, DicomConfig, NodeConfig, TlsConfig
from client_plugin.dicom.tls import TLS12_SUITES, client_context, server_context
from tests.pki import Authority


def config(folder: Path, **changes: object) -> NodeConfig:
    authority = Authority(folder / "local" / "tls")
    authority.issue("node")
    tls = {
        "certificate": "local/tls/node.pem",
        "private_key": "local/tls/node.key",
        "ca_certificates": "local/tls/ca.pem",
        **changes,
    }
    return NodeConfig(site="hospital-a", kit=folder, dicom=DicomConfig(tls=TlsConfig(**tls)))


def test_without_tls_there_is_no_context() -> None:
    assert server_context(NodeConfig(site="hospital-a")) is None
    with pytest.raises(ConfigError, match=r"dicom\.tls"):
        client_context(NodeConfig(site="hospital-a"))


def test_the_profile(tmp_path: Path) -> None:
    context = server_context(config(tmp_path))
    assert context is not None
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    offered = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
    assert offered == set(TLS12_SUITES)


def test_mutual_is_an_option_of_the_listener_only(tmp_path: Path) -> None:
    one_sided = config(tmp_path, mutual=False)
    context = server_context(one_sided)
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE
    assert client_context(one_sided).verify_mode is ssl.CERT_REQUIRED
    assert client_context(one_sided).check_hostname


def test_unusable_files_are_named_with_the_cure(tmp_path: Path) -> None:
    usable = config(tmp_path)
    key = tmp_path / "local" / "tls" / "node.key"
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        server_context(usable)
    key.unlink()
    with pytest.raises(ConfigError, match="private_key"):
        server_context(usable)
    with pytest.raises(ConfigError, match="ca_certificates"):
        server_context(config(tmp_path, ca_certificates="local/tls/node.key"))
    with pytest.raises(ConfigError, match="no certificate and its key"):
        server_context(config(tmp_path, certificate="local/tls/ca.pem"))
