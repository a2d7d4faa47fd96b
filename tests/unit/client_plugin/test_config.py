from pathlib import Path

import pytest

from client_plugin.config import CONFIG_FILE, ConfigError, NodeConfig


def write(kit: Path, text: str) -> Path:
    path = kit / "local" / CONFIG_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_defaults_and_paths_relative_to_the_kit(tmp_path: Path) -> None:
    write(tmp_path, "site: hospital-a\n")
    config = NodeConfig.load(tmp_path)
    assert config.root == tmp_path / "node"
    assert config.catalogue_url == f"sqlite:///{tmp_path}/node/catalogue.sqlite"
    assert config.dicom.peers == ()  # nobody may store until told who


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("site: hospital-a\ngovernance: {min_patient: 3}\n", "governance.min_patient"),
        ("site: hospital-a\ngovernance: {encryption: []}\n", "governance.encryption"),
        ("site: hospital-a\ngovernance: {encryption: [none]}\n", "governance.encryption"),
        ("site: hospital-a\ndicom: {ae_title: 'A TITLE THAT IS TOO LONG'}\n", "dicom.ae_title"),
        ("site: hospital-a\ndicom: {peers: [{ae_title: PACS, addresses: [nowhere]}]}\n", "dicom.peers.0.addresses"),
        ("site: Hospital A\n", "site"),
        ("[1, 2]\n", "mapping"),
        ("site: [\n", "not YAML"),
        ("site: a\narchive: {key_file: k, key_command: [kms]}\n", "not both"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        NodeConfig.load(write(tmp_path, text))


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--kit"):
        NodeConfig.load(tmp_path)
