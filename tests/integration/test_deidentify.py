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
from client_plugin.intake.deidentify import Deidentifier, Profile, Quarantine, Rule, standard, text_detector
from client_plugin.intake.deidentify.screening import TextRisk, sop_class, text_risk
from demo import data

ROOT = Path(__file__).parents[2]

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


def sources() -> dict[str, Callable[[], list[Path]]]:
    """Every collection of real files that is installed or can be fetched."""
    tests = Path(get_testdata_file("CT_small.dcm", read=False, download=False)).parent
    packaged = Path(str(resources.files("data_store") / "data"))  # pydicom-data
    return {
        "pydicom": lambda: [p for p in sorted(tests.rglob("*")) if p.suffix in (".dcm", "")],
        "pydicom-data": lambda: sorted(packaged.rglob("*.dcm")),
        "deid-data": lambda: sorted(Path(str(resources.files("deid_data"))).rglob("*.dcm")),
        "TotalSegmentator": lambda: sorted(data.fetch(ROOT / ".demo" / "cache").image("c").iterdir()),
    }


@pytest.mark.parametrize(
    ("source", "least"), [("pydicom", 80), ("pydicom-data", 30), ("deid-data", 5), ("TotalSegmentator", 20)]
)
def test_every_real_file_is_refused_or_valid(source: str, least: int, tmp_path: Path) -> None:
    """Opened by pydicom and dcmdump, of the same SOP class, with all that its IOD requires, and the same once more."""
    profile = Profile.from_config(DeidentificationConfig(clean_visual_features=False))  # heads are looked at too
    deidentifier, kept = Deidentifier(profile, Keys()), 0
    kinds: set[tuple[str, ...]] = set()
    for path in sources()[source]():
        if not path.is_file() or path.name.startswith("DICOMDIR"):
            continue
        try:
            ds = whole(dcmread(path, force=True))
            done = deidentifier.apply(ds) if once_of_a_kind(ds, kinds) else None
        except Quarantine:
            continue
        if done is None:
            continue
        output = done.encoded()
        assert "SOPInstanceUID" in dump(output, tmp_path), path
        after = dcmread(BytesIO(output))
        assert after.SOPClassUID == after.file_meta.MediaStorageSOPClassUID
        assert after.SOPClassUID in (ds.get("SOPClassUID"), getattr(ds, "file_meta", {}).get("MediaStorageSOPClassUID"))
        assert without_required(ds, after) == [], path
        if not any(action.rule is Rule.BURNED_IN for action in done.record):  # looking for text takes a second
            assert deidentifier.apply(whole(dcmread(path, force=True))).encoded() == output, path
        kept += 1
    assert kept >= least


def test_a_real_body_that_is_not_labelled_is_not_taken_for_a_head(deidentifier: Deidentifier) -> None:
    files = sources()["TotalSegmentator"]()
    for path in files:
        ds = whole(dcmread(path))
        ds.BodyPartExamined = ds.SeriesDescription = ds.StudyDescription = ds.ProtocolName = ""
        assert deidentifier.apply(ds).pseudonym
    assert len(files) == 20


def whole(ds: Dataset) -> Dataset:
    """TotalSegmentator's series was half anonymised: no patient and no study, nothing that it could be filed under."""
    if ds.get("PatientID") == "" and ds.get("StudyInstanceUID") == "":
        with pytest.raises(Quarantine, match="missing-uid"):
            Deidentifier(Profile.from_config(DeidentificationConfig()), Keys()).apply(ds)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "1.2.3", "1.2.3.4"
    return ds


def once_of_a_kind(ds: Dataset, kinds: set[tuple[str, ...]]) -> bool:
    """Whether ``ds`` is to be looked at: of pictures in which text is looked for, the first of each kind."""
    if text_risk(ds, sop_class(ds)[1]) is TextRisk.NONE:
        return True
    syntax = str(getattr(ds, "file_meta", {}).get("TransferSyntaxUID"))
    kind = (str(ds.get("Modality")), syntax, str(ds.get("PhotometricInterpretation")))
    if kind in kinds:
        return False
    kinds.add(kind)
    return True


def without_required(before: Dataset, after: Dataset) -> list[str]:
    """Attributes of Type 1 and 2 that were there and are not any more, or of Type 1 and empty now."""
    iod = standard.iod_of(str(after.SOPClassUID))
    assert iod is not None
    return [
        f"{tag:08x}"
        for tag, type_ in standard.attributes(iod)[standard.TOP].items()
        if type_ in ("1", "2")
        and tag in before
        and (tag not in after or (type_ == "1" and before[tag].value not in (None, "", []) and not _valued(after, tag)))
    ]


def _valued(ds: Dataset, tag: int) -> bool:
    return ds[tag].value is not None and ds[tag].value != "" and ds[tag].value != []


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
