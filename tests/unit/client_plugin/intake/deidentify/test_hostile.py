"""Whatever arrives: an instance or a refusal with a reason, never another exception, never a planted name."""

import random
import struct
import warnings
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataelem import DataElement

from client_plugin.intake.deidentify import Deidentifier, Quarantine, Reason

from .conftest import read, written


@pytest.mark.parametrize("seed", range(60))
def test_broken_bytes(deidentifier: Deidentifier, ct: Dataset, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(written(ct))
    for _ in range(rng.randrange(1, 40)):
        data[rng.randrange(132, 6000)] = rng.randrange(256)
    if seed % 3 == 0:
        del data[rng.randrange(400, len(data)) :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ds = dcmread(BytesIO(bytes(data)))
        except Exception:  # noqa: BLE001 - the parser's affair: the intake quarantines it as unreadable
            return
        try:
            out = deidentifier.apply(ds).encoded()
        except Quarantine:
            return
    for part in (b"Quacksalber", b"hwinkel"):
        assert part not in out


@pytest.mark.parametrize("vr", ["OB", "UN", "LO", "PN", "UI", "SQ", "DS", "US"])
def test_a_wrong_vr_hides_nothing(deidentifier: Deidentifier, ct: Dataset, vr: str) -> None:
    """Series Description in any VR."""
    values = {"SQ": [Dataset()], "US": 12345, "DS": "12345", "UI": "1.2.3", "OB": b"Mustermann ", "UN": b"Mustermann "}
    ct.pop(0x0008103E)
    ct.add(DataElement(0x0008103E, vr, values.get(vr, "Mustermann")))
    out = deidentifier.apply(read(written(ct))).encoded()
    assert b"Mustermann" not in out


def test_more_character_sets_than_there_are(deidentifier: Deidentifier, ct: Dataset) -> None:
    """Each item would carry all their names."""
    ct.SpecificCharacterSet = [""] * 5000
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(read(written(ct)))
    assert caught.value.reason is Reason.UNREADABLE


def test_deep_nesting(deidentifier: Deidentifier, ct: Dataset) -> None:
    """A content tree of 60 levels, which the tables allow and a stack must bear."""
    tree = Dataset()
    tree.ValueType = "TEXT"
    tree.TextValue = "Mustermann"
    for _ in range(60):
        branch = Dataset()
        branch.ValueType = "CONTAINER"
        branch.ContentSequence = [tree]
        tree = branch
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    ct.Modality = "SR"
    ct.ContentSequence = [tree]
    out = deidentifier.apply(read(written(ct))).encoded()
    assert b"Mustermann" not in out
    assert out.count(b"CONTAINER") == 60


def test_bottomless_nesting_is_refused(deidentifier: Deidentifier, ct: Dataset) -> None:
    content = b""
    for _ in range(2000):
        content = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(content)) + content
        content = b"\x40\x00\x30\xa7SQ\0\0" + struct.pack("<I", len(content)) + content
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    for element in [e for e in ct if e.tag > 0x0040A730]:
        del ct[element.tag]
    ds = read(written(ct) + content)
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(ds)
    assert caught.value.reason is Reason.UNREADABLE
