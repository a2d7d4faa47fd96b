"""Our files are those that pydicom writes, byte for byte."""

from functools import cache
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from benchmarks.planting import MODALITIES, Planted, corpus
from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Quarantine

from .conftest import FixedKeys, read, written

IODS = tuple(MODALITIES)[:8]


@cache
def planted() -> dict[str, Planted]:
    return {p.iod: p for p in corpus(iods=IODS)}


@pytest.mark.parametrize("iod", IODS)
def test_every_character_set_and_transfer_syntax(deidentifier: Deidentifier, iod: str) -> None:
    done = deidentifier.apply(read(planted()[iod].data))
    assert done.encoded() == written(done.dataset)


def test_all_test_files(keys: FixedKeys) -> None:
    without_pixels = DeidentificationConfig(clean_pixel_data=False, clean_visual_features=False)
    deidentifier = Deidentifier(Profile.from_config(without_pixels), keys)
    compared = 0
    folder = Path(get_testdata_file("CT_small.dcm", read=False, download=False)).parent
    for path in sorted(folder.glob("*.dcm")):
        try:
            done = deidentifier.apply(dcmread(path, force=True))
        except (Quarantine, NotImplementedError):  # a DICOMDIR is no instance
            continue
        assert done.encoded() == written(done.dataset), path
        compared += 1
    assert compared > 30


def test_a_value_too_long_for_its_length_field(deidentifier: Deidentifier, ct: Dataset) -> None:
    """Contours of more than 64 kByte come as UN (PS3.5 6.2.2) and must not be lost."""
    ct.ImageComments = "chest " * 12_000
    with pytest.warns(UserWarning, match="64 kByte"):
        data = written(ct)
    out = read(deidentifier.apply(read(data)).encoded())
    assert out["ImageComments"].VR == "UN"
    assert out.ImageComments == ct.ImageComments.strip().encode().ljust(len(ct.ImageComments.strip()) + 1)


def test_the_stated_transfer_syntax_is_the_real_one(deidentifier: Deidentifier, ct: Dataset) -> None:
    ds = read(written(ct))
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian  # a file that contradicts itself
    out = read(deidentifier.apply(ds).encoded())
    assert out.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert out.Rows == ct.Rows
