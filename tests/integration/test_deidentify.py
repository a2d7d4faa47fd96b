"""De-identification seen from outside: dcmtk's dcmdump, references across a study, real ultrasound."""

import subprocess
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from benchmarks import planting
from benchmarks.deidentifiers import Keys
from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Quarantine, text_detector

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def deidentifier() -> Deidentifier:
    return Deidentifier(Profile.from_config(DeidentificationConfig()), Keys())


@cache
def planted() -> dict[str, planting.Planted]:
    return {p.iod: p for p in planting.corpus()}


def dump(data: bytes, folder: Path) -> str:
    """What dcmdump makes of a file; it exits with an error, or says so, where it cannot read on."""
    path = folder / "instance.dcm"
    path.write_bytes(data)
    run = subprocess.run(["dcmdump", path], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr
    assert b"E: " not in run.stderr, run.stderr
    return run.stdout.decode("latin-1")


@pytest.mark.parametrize("iod", planting.MODALITIES)
def test_planted_instances(deidentifier: Deidentifier, iod: str, tmp_path: Path) -> None:
    out = deidentifier.apply(dcmread(BytesIO(planted()[iod].data))).encoded()
    assert planting.survivors(planted()[iod], out) == []
    assert "SOPClassUID" in dump(out, tmp_path)
    assert dcmread(BytesIO(out)).SOPClassUID == planted()[iod].sop_class_uid


def test_every_test_file_of_pydicom(deidentifier: Deidentifier, tmp_path: Path) -> None:
    folder = Path(get_testdata_file("CT_small.dcm", read=False, download=False)).parent
    dumped = 0
    for path in sorted(folder.rglob("*.dcm")):
        ds = dcmread(path, force=True)
        try:
            done = deidentifier.apply(ds)
        except (Quarantine, NotImplementedError):
            continue
        assert "SOPInstanceUID" in dump(done.encoded(), tmp_path), path
        dumped += 1
    assert dumped > 50


def test_a_file_set_keeps_its_references(deidentifier: Deidentifier) -> None:
    """The studies of pydicom's DICOMDIR: no reference dangles that did not dangle before."""
    folder = Path(get_testdata_file("DICOMDIR", read=False, download=False)).parent
    before = [
        dcmread(p) for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith(("DICOMDIR", "README"))
    ]
    profile = Profile.from_config(DeidentificationConfig(clean_visual_features=False))
    all_of_them = Deidentifier(profile, Keys())
    after = [dcmread(BytesIO(all_of_them.apply(ds).encoded())) for ds in before]
    known = ({str(ds.SOPInstanceUID) for ds in before}, {str(ds.SOPInstanceUID) for ds in after})
    inside = [sum(uid in known[i] for ds in side for uid in references(ds)) for i, side in enumerate((before, after))]
    assert inside[0] == inside[1]
    for attribute in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "PatientID"):
        old_groups, new_groups = ([str(ds.get(attribute)) for ds in side] for side in (before, after))
        assert len(set(zip(old_groups, new_groups, strict=True))) == len(set(old_groups)) == len(set(new_groups)), (
            attribute
        )


def references(ds: Dataset) -> Iterator[str]:
    for element in ds.iterall():
        if element.keyword == "ReferencedSOPInstanceUID":
            yield str(element.value)


def _ultrasounds() -> dict[str, Callable[[], bytes]]:
    folder = resources.files("deid_data") / "data" / "ultrasounds"
    cine = zipfile.ZipFile(BytesIO((folder / "GREYSCALE_CINE.zip").read_bytes()))
    return {
        "GREYSCALE_IMAGE": (folder / "GREYSCALE_IMAGE.dcm").read_bytes,
        "RGB_IMAGE": (folder / "RGB_IMAGE.dcm").read_bytes,
        "GREYSCALE_CINE": lambda: cine.read("GREYSCALE_CINE.dcm"),
    }


@pytest.mark.parametrize("name", ["GREYSCALE_IMAGE", "RGB_IMAGE", "GREYSCALE_CINE"])
def test_real_ultrasound(deidentifier: Deidentifier, name: str) -> None:
    ds = dcmread(BytesIO(_ultrasounds()[name]()))
    before = ds.pixel_array[0] if name.endswith("CINE") else ds.pixel_array
    assert any(word in _all_text(before) for word in ("TEST", "DOWNTIME", "CLEVELAN"))
    out = dcmread(BytesIO(deidentifier.apply(ds).encoded())).pixel_array
    after = out[0] if name.endswith("CINE") else out
    left = _all_text(after)
    assert not any(word in left for word in ("TEST", "DOWNTIME", "CLEVELAN", "0007", "0004", "1951", "2017", "2020"))
    middle = np.s_[before.shape[0] // 4 : before.shape[0] * 3 // 4, before.shape[1] // 4 : before.shape[1] * 3 // 4]
    assert np.array_equal(after[middle], before[middle])


def _all_text(frame: NDArray[np.uint8]) -> str:
    colour = np.stack([frame] * 3, axis=-1) if frame.ndim == 2 else frame
    return " ".join(text_detector.read(colour, box)[0] for box in text_detector.find(colour)).upper()
