import json
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from client_plugin.intake.deidentify import Deidentifier, deidentify_folder

from .conftest import written


@pytest.fixture
def source(tmp_path: Path, ct: Dataset) -> Path:
    folder = tmp_path / "Mustermann Erika"
    folder.mkdir()
    for number in range(3):
        ct.SOPInstanceUID = ct.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ct.BodyPartExamined = "HEAD" if number == 2 else "CHEST"
        (folder / f"{number}.dcm").write_bytes(written(ct))
    (folder / "notes.txt").write_text("Mustermann")
    return folder


def test_a_folder(source: Path, deidentifier: Deidentifier, tmp_path: Path) -> None:
    summary = deidentify_folder(source, tmp_path / "out", deidentifier, tmp_path / "report.json")
    assert (summary.written, dict(summary.refused), summary.other) == (2, {"recognizable-face": 1}, 1)
    files = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(files) == 2
    for path in files:
        ds = dcmread(path)
        assert path.parts[-3:] == (ds.PatientID, ds.SeriesInstanceUID, f"{ds.SOPInstanceUID}.dcm")


def test_the_report_names_elements_and_rules_and_no_values(
    source: Path, deidentifier: Deidentifier, tmp_path: Path
) -> None:
    deidentify_folder(source, tmp_path / "out", deidentifier, tmp_path / "report.json")
    text = (tmp_path / "report.json").read_text()
    report = json.loads(text)
    assert report["profile"]["digest"] == deidentifier.profile.digest
    assert report["profile"]["options"]["113100"].startswith("Basic")
    elements = report["objects"][0]["elements"]
    assert {"element": "InstitutionName", "tag": "(0008,0080)", "action": "X", "rule": "PS3.15 Table E.1-1"} in elements
    assert report["objects"][2] == {"file": 3, "refused": "recognizable-face"}
    for value in ("Mustermann", "4711", "19570312", "Quacksalber", "hwinkel"):
        assert value not in text


def test_what_is_there_is_not_mixed_with_the_result(source: Path, deidentifier: Deidentifier, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="new folder"):
        deidentify_folder(source, source.parent, deidentifier)
    with pytest.raises(ValueError, match="inside"):
        deidentify_folder(source, source / "out", deidentifier)
