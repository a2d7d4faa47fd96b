"""Heads: real ones from pydicom's test files, with their labels and without."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Quarantine, Reason, regions
from client_plugin.intake.deidentify.faces import refusal, shows_no_head
from client_plugin.intake.deidentify.regions import Region, region
from client_plugin.intake.deidentify.screening import sop_class

from .conftest import FixedKeys

HEAD_CT = "dicomdirtests/77654033/CT2/17106"
HEAD_MR = "dicomdirtests/98892003/MR1/5641"


def real(name: str) -> Dataset:
    """One of pydicom's files; a name without a suffix is one of its file set's."""
    if name.startswith("humans"):
        return dcmread(Path(str(resources.files("deid_data"))) / "data" / name)
    folder = Path(get_testdata_file("CT_small.dcm", read=False, download=False)).parent
    return dcmread(folder / name) if "/" in name else dcmread(get_testdata_file(name, read=False, download=False))


def unlabelled(ds: Dataset) -> Dataset:
    for keyword in (*regions._SERIES_TEXTS, *regions._STUDY_TEXTS, *regions._REGIONS, *regions._PROCEDURES):
        if keyword in ds:
            delattr(ds, keyword)
    return ds


def decided(ds: Dataset, *faceless: str) -> Reason | None:
    return refusal(ds, sop_class(ds)[1], frozenset(faceless))


@pytest.mark.parametrize(
    ("part", "series", "study", "expected"),
    [
        ("HEAD", "", "", Region.HEAD),
        ("HEADNECK", "", "", Region.HEAD),
        ("BRAIN", "t1", "CT chest", Region.HEAD),
        ("CHEST", "head first, thorax", "", Region.OTHER),
        ("CHEST", "Schädel nativ", "", Region.HEAD),  # the protocol's body part was left as it was
        ("CHEST", "", "CT HEAD CHEST ABDOMEN", Region.OTHER),  # a series of a study of several parts
        ("", "", "CT head chest abdomen", Region.HEAD),
        ("", "", "MR Kopf nativ", Region.HEAD),
        ("", "", "IRM encéphalique", Region.HEAD),
        ("", "RM de cráneo", "", Region.HEAD),
        ("", "RM encefalo", "", Region.HEAD),
        ("", "МРТ головного мозга", "", Region.HEAD),
        ("", "МРТ коленного сустава", "", Region.OTHER),
        ("", "頭部CT", "", Region.HEAD),
        ("", "胸部CT", "", Region.OTHER),
        ("", "뇌 MRI", "", Region.HEAD),
        ("", "t2_flair_tra", "", Region.HEAD),
        ("", "NNH nativ", "", Region.HEAD),
        ("", "CT abdomen, femoral head", "", Region.OTHER),
        ("", "t2_tse_sag_LWS", "", Region.OTHER),
        ("", "SchulterRechts", "", Region.OTHER),
        ("", "e+1", "plain", Region.UNKNOWN),
        ("WHOLEBODY", "", "", Region.UNKNOWN),  # may be any section of it
        ("XYZ", "t2_tse_tra", "", Region.UNKNOWN),
    ],
)
def test_what_labels_say(ct: Dataset, part: str, series: str, study: str, expected: Region) -> None:
    ds = unlabelled(ct)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.BodyPartExamined, ds.SeriesDescription, ds.StudyDescription = part, series, study
    assert region(ds) is expected


@pytest.mark.parametrize(
    ("value", "scheme", "meaning", "expected"),
    [
        ("69536005", "SCT", "", Region.HEAD),
        ("T-D1100", "SRT", "Kopf", Region.HEAD),
        ("T-A0100", "SRT", "", Region.HEAD),  # brain, in the codes of older equipment
        ("51185008", "SCT", "", Region.OTHER),  # thorax
        ("4711", "99SITE", "Gehirn", Region.HEAD),
        ("4711", "99SITE", "", Region.UNKNOWN),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_codes_say(ct: Dataset, value: str, scheme: str, meaning: str, expected: Region, *, nested: bool) -> None:
    ds, code = unlabelled(ct), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, scheme, meaning
    if nested:
        anatomy, group = Dataset(), Dataset()
        anatomy.AnatomicRegionSequence = [code]
        group.FrameAnatomySequence = [anatomy]
        ds.SharedFunctionalGroupsSequence = [group]
    else:
        ds.AnatomicRegionSequence = [code]
    assert region(ds) is expected


@pytest.mark.parametrize(
    "name", [HEAD_CT, HEAD_MR, "MR_small.dcm", "693_UNCR.dcm", "humans/ctbrain1.dcm", "humans/ctbrain2.dcm"]
)
def test_real_heads_without_any_label_are_refused(name: str) -> None:
    assert decided(unlabelled(real(name))) is Reason.POSSIBLE_FACE


def test_a_site_may_say_that_its_scanner_sees_no_heads(keys: FixedKeys) -> None:
    ds = unlabelled(real("MR_small.dcm"))
    with pytest.raises(Quarantine) as caught:
        Deidentifier(Profile.from_config(DeidentificationConfig()), keys).apply(ds)
    assert caught.value.reason is Reason.POSSIBLE_FACE
    faceless = Profile.from_config(DeidentificationConfig(faceless_modalities=("MR",)))
    assert Deidentifier(faceless, keys).apply(ds).pseudonym
    assert faceless.digest != Profile.from_config(DeidentificationConfig()).digest
    ds.BodyPartExamined = "HEAD"  # what is labelled is refused all the same
    assert decided(ds, "MR") is Reason.RECOGNIZABLE_FACE


def test_the_option_can_be_off(keys: FixedKeys) -> None:
    off = Profile.from_config(DeidentificationConfig(clean_visual_features=False))
    assert Deidentifier(off, keys).apply(real(HEAD_CT)).pseudonym


@pytest.mark.parametrize(
    ("said", "part", "expected"),
    [("YES", "KNEE", Reason.RECOGNIZABLE_FACE), ("NO", "HEAD", None)],
)
def test_what_the_instance_says_of_itself_counts(ct: Dataset, said: str, part: str, expected: Reason | None) -> None:
    ct.RecognizableVisualFeatures, ct.BodyPartExamined = said, part
    assert decided(ct) is expected


def test_a_photograph_without_a_label_is_refused(ct: Dataset) -> None:
    ds = unlabelled(ct)
    ds.SOPClassUID, ds.Modality = "1.2.840.10008.5.1.4.1.1.77.1.4", "XC"
    assert decided(ds) is Reason.POSSIBLE_FACE
    ds.BodyPartExamined = "HAND"
    assert decided(ds) is None


def ellipse(rows: int, columns: int, spacing: float, size: int = 128) -> NDArray[np.float32]:
    """Water in air, of so many millimetres."""
    y, x = (np.mgrid[:size, :size] - size / 2) * spacing
    return np.where((2 * y / rows) ** 2 + (2 * x / columns) ** 2 < 1, 40.0, -1000.0).astype(np.float32)


@pytest.mark.parametrize(
    ("units", "spacing", "expected"),
    [
        (ellipse(210, 160, 2.0), 2.0, False),  # a head
        (ellipse(230, 350, 3.5), 3.5, True),  # a chest
        (ellipse(900, 900, 2.0), 2.0, True),  # inside of a body: nothing has a surface
        (np.full((128, 128), -1000, np.float32), 2.0, True),  # air
        (ellipse(210, 160, 2.0)[40:], 2.0, False),  # a head that is cut off
    ],
)
def test_the_measures_of_a_section(units: NDArray[np.float32], spacing: float, expected: bool) -> None:
    assert shows_no_head(units, (spacing, spacing)) is expected


def test_a_section_that_cannot_be_measured_may_be_a_head(ct: Dataset) -> None:
    ds = unlabelled(ct)
    ds.PixelData = np.full((128, 128), 1000, np.int16).tobytes()  # no surface
    assert decided(ds) is None
    for keyword in ("PixelSpacing", "ImageOrientationPatient", "RescaleSlope"):
        kept = ds[keyword]
        del ds[keyword]
        assert decided(ds) is Reason.POSSIBLE_FACE
        ds[keyword] = kept
    ds.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]  # coronal: its height says nothing
    assert decided(ds) is Reason.POSSIBLE_FACE


def test_a_real_abdomen_without_any_label_is_kept() -> None:
    assert decided(unlabelled(real("explicit_VR-UN.dcm"))) is None
