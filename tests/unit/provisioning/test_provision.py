import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509

from client_plugin.config import NodeConfig
from provisioning.provision import ProvisionError, load_project, provision

PROJECT = Path(__file__).parents[3] / "provisioning" / "project.yml"


@pytest.fixture(scope="module")
def kits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return provision(load_project(PROJECT), tmp_path_factory.mktemp("provision"))


def read(path: Path) -> dict[str, Any]:
    value = json.loads(path.read_text())
    assert isinstance(value, dict)
    return value


def test_every_participant_gets_a_kit_that_starts(kits: dict[str, Path]) -> None:
    assert set(kits) == {"fedpacs.example.org", "hospital-a", "hospital-b", "hospital-c", "lead@example.org"}
    for name in ("fedpacs.example.org", "hospital-a"):
        assert (kits[name] / "startup" / "start.sh").stat().st_mode & 0o100


def test_nobody_may_bring_code(kits: dict[str, Path]) -> None:
    for name in ("fedpacs.example.org", "hospital-b"):
        permissions = read(kits[name] / "local" / "authorization.json")["permissions"]
        assert {role["byoc"] for role in permissions.values()} == {"none"}
        resources = read(kits[name] / "local" / "resources.json")
        assert resources["class_list_enforcement_mode"] == "enforce"
        assert not any(entry.startswith("nvflare.") or entry == "*" for entry in resources["class_allow_list"])


def test_the_hospitals_own_filters_are_in_force_by_default(kits: dict[str, Path]) -> None:
    privacy = read(kits["hospital-c"] / "local" / "privacy.json")
    (scope,) = privacy["scopes"]
    assert privacy["default_scope"] == scope["name"]
    assert [f["path"] for f in scope["task_result_filters"]] == ["client_plugin.privacy.filters.SealUpdate"]


def test_every_allowed_class_and_component_exists(kits: dict[str, Path]) -> None:
    import importlib

    for name in ("fedpacs.example.org", "hospital-a"):
        resources = read(kits[name] / "local" / "resources.json")
        paths = resources["class_allow_list"] + [c["path"] for c in resources["components"]]
        for path in paths:
            module, _, cls = path.rpartition(".")
            assert isinstance(getattr(importlib.import_module(module), cls), type), path


def test_nothing_falls_back_to_nvflares_defaults(kits: dict[str, Path]) -> None:
    for name in ("fedpacs.example.org", "hospital-a"):
        local = kits[name] / "local"
        assert read(local / "resources.json.default") == read(local / "resources.json")


def test_the_consortium_for_poc_mode_is_one_that_can_be_provisioned(tmp_path: Path) -> None:
    made = provision(load_project(PROJECT.parent / "poc.yml"), tmp_path)
    nodes = [NodeConfig.load(made[f"hospital-{x}"]) for x in "abc"]
    ports = [port for one in nodes for port in (one.dicom.port, one.metrics.port, one.status_page.port)]
    assert len(set(ports)) == 9
    assert {one.dicom.host for one in nodes} == {"127.0.0.1"}


def test_jobs_must_be_signed(kits: dict[str, Path]) -> None:
    assert read(kits["hospital-a"] / "startup" / "fed_client.json")["require_signed_jobs"] is True
    assert read(kits["fedpacs.example.org"] / "startup" / "fed_server.json")["require_signed_jobs"] is True


def test_node_configuration_is_in_the_kit(kits: dict[str, Path]) -> None:
    config = NodeConfig.load(kits["hospital-a"])
    assert config.site == "hospital-a"
    assert config.dicom.peers[0].ae_title == "PACS_A"
    subject = x509.load_pem_x509_certificate((kits["hospital-a"] / "startup" / "client.crt").read_bytes()).subject
    assert "hospital-a" in subject.rfc4514_string()


def test_the_folder_with_every_key_is_private(kits: dict[str, Path]) -> None:
    workspace = kits["hospital-a"].parents[2]
    assert list(workspace.glob("*/state/cert.json"))  # the project's root key
    assert workspace.stat().st_mode & 0o077 == 0


def test_each_hospital_of_the_example_has_its_own_names(kits: dict[str, Path]) -> None:
    titles = {NodeConfig.load(kits[f"hospital-{x}"]).dicom.ae_title for x in "abc"}
    assert len(titles) == 3


def test_nothing_secret_is_shared_between_kits(kits: dict[str, Path]) -> None:
    seen: dict[bytes, str] = {}
    for name, kit in kits.items():
        for path in kit.rglob("*.key"):
            assert path.read_bytes() not in seen, f"{name} shares a key with {seen[path.read_bytes()]}"
            seen[path.read_bytes()] = name
    assert len(seen) == 5


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"node": {"dicom": {"ae_title": "X" * 17}}}, "ae_title"),
        ({"node": {"governance": {"encryption": ["none"]}}}, "encryption"),
        ({"node": {"site": "another"}}, "node.site"),
    ],
)
def test_a_mistake_stops_provisioning_and_is_named(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    project = copy.deepcopy(load_project(PROJECT))
    project["participants"][1].update(change)
    with pytest.raises(ProvisionError, match=named):
        provision(project, tmp_path)
    assert not list(tmp_path.rglob("*.key"))


def test_server_storage_must_be_absolute(tmp_path: Path) -> None:
    project = load_project(PROJECT)
    project["participants"][0]["storage"] = "jobs"
    with pytest.raises(ProvisionError, match="absolute"):
        provision(project, tmp_path)


def test_no_project_file(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"nowhere\.yml"):
        load_project(tmp_path / "nowhere.yml")
    (tmp_path / "list.yml").write_text(yaml.safe_dump([1]))
    with pytest.raises(ProvisionError, match="participants"):
        load_project(tmp_path / "list.yml")
