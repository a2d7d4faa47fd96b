"""``fedpacs deidentify`` and ``fedpacs reidentify``, as a person calls them."""

import json
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from client_plugin.archive.keys import SiteKeys
from client_plugin.cli import main
from client_plugin.config import NodeConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Vault


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    folder = tmp_path / "kit"
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text("site: hospital-a\n")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    ds = dcmread(get_testdata_file("CT_small.dcm", read=False, download=False))
    ds.PatientName, ds.BodyPartExamined = "Mustermann^Erika", "CHEST"
    ds.save_as(folder / "Mustermann.dcm")
    return folder


def test_a_folder_with_its_evidence(
    kit: Path, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    arguments = ["deidentify", "--kit", str(kit), "--report", str(report), str(source), str(tmp_path / "out")]
    assert main(arguments) == 0
    assert "1 instances de-identified" in capsys.readouterr().out
    (path,) = (tmp_path / "out").rglob("*.dcm")
    assert b"Mustermann" not in path.read_bytes()
    assert json.loads(report.read_text())["objects"][0]["instance"] == path.stem


def test_what_is_wrong_is_one_line(kit: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deidentify", "--kit", str(kit), str(source / "nowhere"), str(source)]) == 1
    assert "no folder" in capsys.readouterr().err
    assert main(["deidentify", "--kit", str(kit), str(source), str(source / "out")]) == 1
    assert "inside" in capsys.readouterr().err


def remembered(kit: Path, source: Path) -> str:
    """The pseudonym of a patient whose study the node has archived."""
    config = NodeConfig.load(kit)
    keys = SiteKeys.open(config)
    done = Deidentifier(Profile.from_config(config.deidentification), keys).apply(dcmread(source / "Mustermann.dcm"))
    vault = Vault.open(config, keys)
    assert vault is not None
    vault.remember(done.pseudonym, done.identity)
    return done.pseudonym


def test_the_way_back(kit: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pseudonym = remembered(kit, source)
    assert main(["reidentify", "--kit", str(kit), "--reason", "incidental finding", pseudonym]) == 0
    assert "Mustermann^Erika" in capsys.readouterr().out
    log = (kit / "node" / "vault" / "audit.jsonl").read_text()
    assert "incidental finding" in log
    assert "Mustermann" not in log


def test_no_way_back(kit: Path, source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reidentify", "--kit", str(kit), "--reason", "check", "PUNKNOWN"]) == 1
    assert "not in this hospital's vault" in capsys.readouterr().err
    (kit / "local" / "fedpacs.yaml").write_text("site: hospital-a\ndeidentification: {reidentification: false}\n")
    assert main(["reidentify", "--kit", str(kit), "--reason", "check", "PUNKNOWN"]) == 1
    assert "is off" in capsys.readouterr().err
