from copy import deepcopy

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client_plugin.archive.instance import ArchivedInstance, NotArchivable, SegmentLabel


@pytest.fixture(scope="module")
def ct_small() -> Dataset:
    return pydicom.dcmread(get_testdata_file("CT_small.dcm"))


def items(**attributes: object) -> Sequence:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return Sequence([item])


def test_a_real_ct_slice(ct_small: Dataset) -> None:
    meta = ArchivedInstance.from_dataset(ct_small, "P1")
    assert (meta.modality, meta.rows, meta.columns, meta.frames, meta.number) == ("CT", 128, 128, 1, 1)
    assert meta.position == (-158.135803, -179.035797, -75.699997)
    assert meta.location == pytest.approx(-75.699997)
    assert meta.pixel_spacing == (0.661468, 0.661468)
    assert meta.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert meta.labels == ()


def test_a_real_rtstruct_names_its_regions_and_the_series_it_was_drawn_on() -> None:
    ds = pydicom.dcmread(get_testdata_file("rtstruct.dcm"), force=True)  # it has no preamble
    ds.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2"
    meta = ArchivedInstance.from_dataset(ds, "P1")
    assert [(label.number, label.name) for label in meta.labels] == [
        (1, "patient"),
        (2, "Isocenter 1"),
        (3, "Isocenter 2"),
    ]
    assert meta.referenced_series == ("1.2.826.0.1.3680043.8.498.2010020400001.2.1.1",)
    assert meta.position is None


def test_a_segmentation_names_its_segments_and_the_series_it_was_drawn_on(ct_small: Dataset) -> None:
    ds = deepcopy(ct_small)
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    ds.ReferencedSeriesSequence = items(SeriesInstanceUID="1.2.3")
    ds.SegmentSequence = Sequence(
        items(SegmentNumber=1, SegmentLabel="liver")[:] + items(SegmentNumber=2, SegmentLabel="spleen")[:]
    )
    meta = ArchivedInstance.from_dataset(ds, "P1")
    assert meta.referenced_series == ("1.2.3",)
    assert meta.labels == (SegmentLabel(1, "liver"), SegmentLabel(2, "spleen"))


def test_an_enhanced_object_keeps_its_geometry_in_functional_groups(ct_small: Dataset) -> None:
    ds = deepcopy(ct_small)
    shared, frame = Dataset(), Dataset()
    shared.PlaneOrientationSequence = items(ImageOrientationPatient=list(ds.ImageOrientationPatient))
    shared.PixelMeasuresSequence = items(PixelSpacing=[0.5, 0.5], SliceThickness="2")
    frame.PlanePositionSequence = items(ImagePositionPatient=[0, 0, 12])
    del ds.ImageOrientationPatient, ds.ImagePositionPatient, ds.PixelSpacing, ds.SliceThickness
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], [frame, Dataset()]
    meta = ArchivedInstance.from_dataset(ds, "P1")
    assert (meta.location, meta.pixel_spacing, meta.slice_thickness) == (12.0, (0.5, 0.5), 2.0)


def test_malformed_descriptions_are_left_out(ct_small: Dataset) -> None:
    ds = deepcopy(ct_small)
    ds.ImagePositionPatient = [1, 2]
    ds.PixelSpacing = None
    ds.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    ds["InstanceNumber"]._value = "first"
    meta = ArchivedInstance.from_dataset(ds, "P1")
    assert (meta.position, meta.location, meta.pixel_spacing, meta.number) == (None, None, None, None)


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", ["", "../../etc/passwd", "1.2." + "3" * 64])
def test_a_uid_that_is_none_is_refused_and_not_repeated(ct_small: Dataset, keyword: str, value: str) -> None:
    ds = deepcopy(ct_small)
    ds[keyword]._value = value
    with pytest.raises(NotArchivable) as raised:
        ArchivedInstance.from_dataset(ds, "P1")
    assert not value or value not in str(raised.value)


@pytest.mark.parametrize("pseudonym", ["", "..", "a/b", "Doe^John", "x" * 65])
def test_a_pseudonym_is_a_safe_name(ct_small: Dataset, pseudonym: str) -> None:
    with pytest.raises(NotArchivable, match="pseudonym"):
        ArchivedInstance.from_dataset(ct_small, pseudonym)
