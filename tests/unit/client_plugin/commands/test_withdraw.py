"""A changed profile: what it would do otherwise is found, withdrawn, and taken again."""

import json
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.received import Outcome
from client_plugin.cli import main
from client_plugin.config import NodeConfig
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.deidentify import Deidentifier, Profile
from client_plugin.intake.pipeline import Pipeline
from client_plugin.intake.spool import Origin, Spool
from client_plugin.intake.study_names import StudyNames


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    (tmp_path / "local").mkdir()
    configure(tmp_path)
    return tmp_path


def configure(kit: Path, **options: bool) -> None:
    content = json.dumps({"site": "hospital-a", "deidentification": options})  # JSON is YAML
    (kit / "local" / "fedpacs.yaml").write_text(content)


def receive(kit: Path) -> Outcome:
    """Send one CT image, and let a worker archive what waits."""
    config = NodeConfig.load(kit)
    keys, archive = SiteKeys.open(config), Archive.open(config)
    spool = Spool(config.spool, keys.derive("spool"))
    spool.take_slot()
    ds = dcmread(get_testdata_file("CT_small.dcm"))
    ds.BodyPartExamined, ds.PatientSex = "CHEST", "F"
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, ds)
    incoming = spool.begin(Origin(ds.SOPClassUID, ds.SOPInstanceUID, "1.2.840.10008.1.2.1", "PACS"))
    incoming.write(buffer.getvalue())
    outcome = GroupCommitter(spool, archive.catalogue).commit(incoming.finish())
    deidentifier = Deidentifier(Profile.from_config(config.deidentification), keys)
    pipeline = Pipeline(spool, archive, deidentifier, max_tries=3, names=StudyNames(config, keys))
    pipeline.archive([w for row in archive.catalogue.claim("worker", 9) if (w := pipeline.prepare(row))])
    spool.close()
    archive.close()
    return outcome


def archived(kit: Path) -> tuple[str, str]:
    """UID and sex of the instance that is archived."""
    archive = Archive.open(NodeConfig.load(kit))
    (path,) = archive._objects.glob("P*/*.sealed")
    ds = dcmread(BytesIO(archive.read(path.stem)))
    archive.close()
    return str(ds.SOPInstanceUID), str(ds.get("PatientSex"))


def listed(kit: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    assert main(["studies", "--outdated", "--json", "--kit", str(kit)]) == 0
    return [study["study_uid"] for study in json.loads(capsys.readouterr().out)]


def test_what_another_profile_made_is_found_withdrawn_and_taken_again(
    kit: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receive(kit)
    uid, sex = archived(kit)
    assert sex == ""
    assert listed(kit, capsys) == []
    configure(kit, retain_patient_characteristics=True)
    assert len(listed(kit, capsys)) == 1
    assert receive(kit) is Outcome.DUPLICATE
    assert main(["withdraw", "--outdated", "--yes", "--kit", str(kit)]) == 0
    assert "1 studies with 1 instances withdrawn" in capsys.readouterr().out
    assert not list(kit.rglob("objects/P*/*.sealed"))
    assert receive(kit) is Outcome.STORED
    assert archived(kit) == (uid, "F")
    assert listed(kit, capsys) == []
    assert main(["withdraw", "--outdated", "--yes", "--kit", str(kit)]) == 0
    assert "profile in force" in capsys.readouterr().out


def test_one_study_and_what_is_wrong(
    kit: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(kit)
    assert main(["withdraw", "--kit", str(kit)]) == 1
    assert main(["withdraw", "--yes", "2.25.404", "--kit", str(kit)]) == 1
    assert "2.25.404 is not here" in capsys.readouterr().out
    configure(kit, retain_patient_characteristics=True)
    (study,) = listed(kit, capsys)
    monkeypatch.setattr("builtins.input", lambda _: "no")
    assert main(["withdraw", study, "--kit", str(kit)]) == 1
    assert archived(kit)
    monkeypatch.setattr("builtins.input", lambda _: "yes")
    assert main(["withdraw", study, "--kit", str(kit)]) == 0
    assert Archive.open(NodeConfig.load(kit)).catalogue.counts()["studies"] == 0
