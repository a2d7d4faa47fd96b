"""What is read is what pydicom decodes, and the data set stays as it was."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client_plugin.archive import reading


def written(syntax: str, **attributes: object) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, "1.2.3"
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    buffer = BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    ds.save_as(buffer, implicit_vr=implicit, little_endian=little)
    return dcmread(BytesIO(buffer.getvalue()), force=True)


@pytest.fixture(params=[ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian])
def ds(request: pytest.FixtureRequest) -> Dataset:
    return written(
        request.param,
        SpecificCharacterSet="ISO_IR 192",
        PatientName="Müller^Jörg",
        StudyDescription="odd",
        ImageType=["ORIGINAL", "PRIMARY"],
        Rows=515,
        Columns=0,
        NumberOfFrames="12",
        SeriesNumber=None,
        PixelSpacing=["0.5", "1E-1"],
        SmallestImagePixelValue=None,
    )


def test_text(ds: Dataset) -> None:
    assert reading.text(ds, "PatientName") == "Müller^Jörg"
    assert reading.text(ds, "StudyDescription") == "odd"
    assert reading.text(ds, "PixelSpacing") == "0.5\\1E-1"
    assert reading.text(ds, "AccessionNumber") == ""
    assert reading.texts(ds, "ImageType") == ["ORIGINAL", "PRIMARY"]


def test_numbers(ds: Dataset) -> None:
    expected = {"Rows": 515, "Columns": 0, "NumberOfFrames": 12, "SeriesNumber": None, "InstanceNumber": None}
    assert {keyword: reading.number(ds, keyword) for keyword in expected} == expected
    for keyword in expected.keys() & {"Rows", "Columns", "NumberOfFrames"}:  # and once pydicom has decoded them
        assert ds[keyword].value == expected[keyword]
        assert reading.number(ds, keyword) == expected[keyword]


def test_what_is_encoded_stays_encoded() -> None:
    ds = written(ExplicitVRLittleEndian, StudyDescription="odd", Rows=515, NumberOfFrames="12")
    before = dict(ds.items())
    reading.text(ds, "StudyDescription")
    reading.number(ds, "Rows")
    reading.number(ds, "NumberOfFrames")
    assert all(ds.get_item(tag) is element for tag, element in before.items())


@pytest.mark.parametrize("value", ["twelve", "1\\2"])
def test_no_number(value: str) -> None:
    ds = written(ExplicitVRLittleEndian, Rows=515)
    element = ds.get_item("Rows")
    assert element is not None
    ds._dict[element.tag] = element._replace(VR="IS", value=value.encode())  # as hostile bytes would read
    with pytest.raises((ValueError, TypeError)):
        reading.number(ds, "Rows")
