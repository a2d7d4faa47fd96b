from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from client_plugin.intake import reader


def same(ours: Dataset, theirs: Dataset) -> bool:
    """Whether two data sets have the same elements, and the same ones of them are decoded."""
    tags = [*ours.keys()]
    if tags != [*theirs.keys()]:
        return False
    for tag in tags:
        a, b = ours.get_item(tag), theirs.get_item(tag)
        if a is None or b is None or a.is_raw != b.is_raw or a != b:
            return False
    return True


def files() -> list[Path]:
    folder = Path(pydicom.__file__).parent / "data"
    return [path for path in folder.rglob("*.dcm") if path.stat().st_size < 4 << 20]


@pytest.mark.filterwarnings("ignore")
def test_it_reads_what_pydicom_reads() -> None:
    compared = 0
    for path in files():
        data = path.read_bytes()
        try:
            theirs = pydicom.dcmread(BytesIO(data))
        except Exception as error:  # noqa: BLE001 - broken on purpose
            with pytest.raises(type(error)):
                reader.read(data)
            continue
        try:
            ours = reader._read(data)
        except Exception:  # noqa: BLE001, S112 - left to pydicom
            continue
        compared += 1
        assert same(ours, theirs), path.name
        assert [*map(str, ours.file_meta)] == [*map(str, theirs.file_meta)], path.name
        assert ours.original_encoding == theirs.original_encoding, path.name
        assert ours.original_character_set == theirs.original_character_set, path.name
        assert ours.preamble == theirs.preamble
    assert compared > 80  # the others are big endian, deflated, or broken


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_other_transfer_syntaxes_are_read_too(syntax: str) -> None:
    names = {DeflatedExplicitVRLittleEndian: "image_dfl.dcm", ExplicitVRBigEndian: "MR_small_bigendian.dcm"}
    data = Path(str(get_testdata_file(names[syntax], read=False))).read_bytes()
    assert same(reader.read(data), pydicom.dcmread(BytesIO(data)))


def test_a_character_set_with_too_much_padding_is_mended_as_pydicom_does() -> None:
    ds = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", read=False)))
    ds.SpecificCharacterSet = "ISO_IR 100"
    buffer = BytesIO()
    ds.save_as(buffer)
    before, after = b"\x0a\0ISO_IR 100", b"\x0c\0ISO_IR 100 \0"
    assert before in buffer.getvalue()
    data = buffer.getvalue().replace(before, after)
    ours, theirs = reader._read(data), pydicom.dcmread(BytesIO(data))
    assert same(ours, theirs)
    assert ours.original_character_set == theirs.original_character_set == ["latin_1"]


def test_every_way_of_cutting_a_file_short_ends_as_with_pydicom() -> None:
    data = Path(str(get_testdata_file("CT_small.dcm", read=False))).read_bytes()
    for end in [*range(0, 2000, 7), *range(len(data) - 40, len(data))]:
        try:
            theirs = pydicom.dcmread(BytesIO(data[:end]))
        except Exception as error:  # noqa: BLE001 - whatever pydicom raises
            with pytest.raises(type(error)):
                reader.read(data[:end])
        else:
            assert same(reader.read(data[:end]), theirs), end
