import copy
import struct

import numpy as np
import pytest
from highdicom.content import AlgorithmIdentificationSequence
from highdicom.seg import SegmentAlgorithmTypeValues, Segmentation, SegmentationTypeValues, SegmentDescription
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.sequence import Sequence
from pydicom.sr.codedict import codes
from pydicom.uid import UID, EncapsulatedPDFStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Done, Profile, Quarantine, Reason, Rule

from .conftest import FixedKeys, read, written


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def test_a_ct_image(deidentifier: Deidentifier, ct: Dataset) -> None:
    done = deidentifier.apply(read(written(ct)))
    out = read(written(done.dataset))
    assert out.PatientID == out.PatientName == done.pseudonym
    assert out.PatientBirthDate == out.AccessionNumber == out.ReferringPhysicianName == ""
    assert "InstitutionName" not in out
    assert out.SeriesDescription == "CT thorax with contrast"
    assert out.PixelData == ct.PixelData
    assert not any(e.tag.is_private for e in out.iterall())
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "KVP", "Rows"):
        assert out[keyword].value == ct[keyword].value
    text = written(done.dataset).lower()
    for planted in (
        b"mustermann",
        b"4711",
        b"19570312",
        b"quacksalber",
        b"klinikum",
        str(ct.StudyInstanceUID).encode(),
    ):
        assert planted not in text


def test_it_says_how_it_was_deidentified(deidentifier: Deidentifier, ct: Dataset) -> None:
    out = deidentifier.apply(ct).dataset
    assert out.PatientIdentityRemoved == "YES"
    assert [code.CodeValue for code in out.DeidentificationMethodCodeSequence] == [
        "113100",  # basic
        "113101",  # clean pixel data
        "113102",  # clean recognizable visual features
        "113103",  # clean graphics
        "113104",  # clean structured content
        "113105",  # clean descriptors
        "113107",  # retain longitudinal temporal information, modified dates
    ]
    assert out.LongitudinalTemporalInformationModified == "MODIFIED"
    assert deidentifier.profile.digest in out.DeidentificationMethod[1]


def test_the_record_names_what_changed_and_nothing_else(deidentifier: Deidentifier, ct: Dataset) -> None:
    done = deidentifier.apply(read(written(ct)))
    out = done.dataset
    changed = {a.tag for a in done.record if not a.path}
    for element in ct:
        same = element.tag in out and out[element.tag].value == element.value
        assert (int(element.tag) in changed) != same, element.tag


def test_intervals_between_dates_are_kept(deidentifier: Deidentifier, ct: Dataset) -> None:
    from pydicom.valuerep import DA

    out = deidentifier.apply(ct).dataset
    before = DA(ct.StudyDate) - DA(ct.SeriesDate)
    assert out.StudyDate != ct.StudyDate
    assert DA(out.StudyDate) - DA(out.SeriesDate) == before
    assert out.StudyTime == ct.StudyTime


def test_without_the_option_dates_go(keys: FixedKeys, ct: Dataset) -> None:
    profile = Profile.from_config(DeidentificationConfig(retain_modified_dates=False))
    out = Deidentifier(profile, keys).apply(ct).dataset
    assert out.StudyDate == out.StudyTime == ""
    assert "AcquisitionDate" not in out
    assert out.LongitudinalTemporalInformationModified == "REMOVED"


def test_the_same_again_in_any_order(keys: FixedKeys, ct: Dataset) -> None:
    def once() -> bytes:
        profile = Profile.from_config(DeidentificationConfig())
        return written(Deidentifier(profile, keys).apply(read(written(ct))).dataset)

    assert once() == once()


def test_decoded_elements_make_no_difference(deidentifier: Deidentifier, ct: Dataset) -> None:
    decoded = read(written(ct))
    str(decoded)  # decodes every element
    raw = deidentifier.apply(read(written(ct))).dataset
    assert written(deidentifier.apply(decoded).dataset) == written(raw)


def test_the_original_is_left_as_it_is(deidentifier: Deidentifier, ct: Dataset) -> None:
    before = copy.deepcopy(ct)
    deidentifier.apply(ct)
    assert ct == before


def test_nested_items_are_passed_through(deidentifier: Deidentifier, ct: Dataset) -> None:
    ct.ReferencedImageSequence = [
        item(ReferencedSOPClassUID=ct.SOPClassUID, ReferencedSOPInstanceUID=ct.SOPInstanceUID)
    ]
    ct.SourceImageSequence = [
        item(
            ReferencedSOPClassUID=ct.SOPClassUID,
            ReferencedSOPInstanceUID="1.2.3.4",
            PatientName="Mustermann^Erika",
            PurposeOfReferenceCodeSequence=[
                item(CodeValue="113100", CodingSchemeDesignator="DCM", CodeMeaning="Erika Mustermann")
            ],
        )
    ]
    ct.RequestAttributesSequence = [item(RequestedProcedureDescription="for Erika")]
    done = deidentifier.apply(read(written(ct)))
    out = read(written(done.dataset))
    assert out.ReferencedImageSequence[0].ReferencedSOPInstanceUID == out.SOPInstanceUID
    assert out.ReferencedImageSequence[0].ReferencedSOPClassUID == ct.SOPClassUID
    assert "PatientName" not in out.SourceImageSequence[0]
    assert b"rika" not in written(out)
    assert any(a.path == ((0x00082112, 0),) and a.tag == 0x00100010 and a.done is Done.REMOVED for a in done.record)


def test_a_value_that_contradicts_its_vr_goes(deidentifier: Deidentifier, ct: Dataset) -> None:
    data = written(ct).replace(b"HELICAL MODE", b"Mustermann E")
    done = deidentifier.apply(read(data))
    assert "ScanOptions" not in done.dataset
    assert any(a.tag == 0x00180022 and a.rule is Rule.VR for a in done.record)


def test_file_meta_and_preamble_are_new(deidentifier: Deidentifier, ct: Dataset) -> None:
    ct.file_meta.SourceApplicationEntityTitle = "ERIKASPC"
    ct.file_meta.PrivateInformationCreatorUID = "1.2.3"
    ct.file_meta.PrivateInformation = b"Erika"
    ct.preamble = b"Mustermann^Erika".ljust(128)
    out = written(deidentifier.apply(read(written(ct))).dataset)
    assert out[:128] == bytes(128)
    assert b"erika" not in out.lower()
    assert read(out).file_meta.MediaStorageSOPInstanceUID == read(out).SOPInstanceUID


def test_a_compressed_picture_stays_and_its_comment_goes(deidentifier: Deidentifier) -> None:
    ds = dcmread(get_testdata_file("MR_small_jp2klossless.dcm", read=False, download=False))
    ds.BodyPartExamined = "KNEE"
    marker = ds.PixelData.index(b"\xff\x64")
    comment = ds.PixelData[marker + 6 : marker + 2 + int.from_bytes(ds.PixelData[marker + 2 : marker + 4], "big")]
    out = read(written(deidentifier.apply(ds).dataset))
    assert len(out.PixelData) == len(ds.PixelData)
    assert comment.isascii()
    assert comment not in out.PixelData
    assert np.array_equal(out.pixel_array, ds.pixel_array)
    assert out.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"SOPClassUID": "1.2.3"}, Reason.UNKNOWN_SOP_CLASS),
        ({"SOPClassUID": EncapsulatedPDFStorage}, Reason.UNSUPPORTED_CONTENT),
        ({"BodyPartExamined": "HEAD"}, Reason.RECOGNIZABLE_FACE),
        ({"RecognizableVisualFeatures": "YES"}, Reason.RECOGNIZABLE_FACE),
        ({"PatientID": "", "StudyInstanceUID": ""}, Reason.MISSING_UID),
    ],
)
def test_what_is_not_kept_has_a_named_reason(
    deidentifier: Deidentifier, ct: Dataset, change: dict[str, object], reason: Reason
) -> None:
    for keyword, value in change.items():
        setattr(ct, keyword, value)
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(ct)
    assert caught.value.reason is reason
    assert str(caught.value) == reason.value


def test_missing_instance_uid_is_taken_from_the_file_meta(deidentifier: Deidentifier, ct: Dataset) -> None:
    expected = deidentifier.apply(ct).dataset.SOPInstanceUID
    ct.SOPInstanceUID = ""
    assert deidentifier.apply(ct).dataset.SOPInstanceUID == expected
    del ct.file_meta.MediaStorageSOPInstanceUID
    with pytest.raises(Quarantine):
        deidentifier.apply(ct)


def test_patients_of_two_issuers_are_two_patients(deidentifier: Deidentifier, ct: Dataset) -> None:
    here = deidentifier.apply(ct).pseudonym
    ct.IssuerOfPatientID = "Elsewhere"
    assert deidentifier.apply(ct).pseudonym != here


def test_a_segmentation_still_refers_to_its_images(deidentifier: Deidentifier, ct: Dataset) -> None:
    mask = np.zeros((1, ct.Rows, ct.Columns), np.uint8)
    mask[0, 10:20, 10:20] = 1
    segment = SegmentDescription(
        1,
        "kidney_left",
        codes.SCT.Organ,
        codes.SCT.Kidney,
        SegmentAlgorithmTypeValues.AUTOMATIC,
        AlgorithmIdentificationSequence("nnU-Net", codes.DCM.ArtificialIntelligence, "2.0"),
    )
    seg = Segmentation(
        [ct], mask, SegmentationTypeValues.BINARY, [segment], "1.2.3.4", 1, "1.2.3.5", 1, "ACME", "Model", "1.0",
        "SN-Erika", content_creator_name="Mustermann^Erika",
    )  # fmt: skip
    image = deidentifier.apply(ct).dataset
    out = read(written(deidentifier.apply(read(written(seg))).dataset))
    assert out.PatientID == image.PatientID
    assert out.FrameOfReferenceUID == image.FrameOfReferenceUID
    reference = out.ReferencedSeriesSequence[0]
    assert reference.SeriesInstanceUID == image.SeriesInstanceUID
    assert reference.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    frame = out.PerFrameFunctionalGroupsSequence[0]
    source = frame.DerivationImageSequence[0].SourceImageSequence[0]
    assert source.ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert frame.PlanePositionSequence[0].ImagePositionPatient == ct.ImagePositionPatient
    assert out.SegmentSequence[0].SegmentLabel == "kidney_left"
    assert out.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Kidney"
    assert np.array_equal(out.pixel_array, mask[0])
    assert out.DimensionIndexSequence == Sequence(
        [
            item(**{**{e.keyword: e.value for e in index}, "DimensionOrganizationUID": new.DimensionOrganizationUID})
            for index, new in zip(seg.DimensionIndexSequence, out.DimensionIndexSequence, strict=True)
        ]
    )
    assert b"rika" not in written(out)


@pytest.mark.parametrize(
    ("meaning", "kept"),
    [
        ("Hounsfield unit", "Hounsfield unit"),  # a concept of PS3.16, though a surname is in it
        ("Right kidney", "Right kidney"),
        ("Erika's kidney", "kidney"),
        ("Zwiebelfisch", "REMOVED"),
    ],
)
def test_code_meanings(deidentifier: Deidentifier, ct: Dataset, meaning: str, kept: str) -> None:
    ct.AnatomicRegionSequence = [item(CodeValue="64033007", CodingSchemeDesignator="SCT", CodeMeaning=meaning)]
    assert deidentifier.apply(read(written(ct))).dataset.AnatomicRegionSequence[0].CodeMeaning == kept


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("decoded", [False, True])
def test_a_name_spelled_in_a_binary_number_goes_and_other_numbers_stay(
    deidentifier: Deidentifier, ct: Dataset, syntax: UID, decoded: bool
) -> None:
    (ct.CTDIvol,) = struct.unpack("<d", b"\x01\x02Erika\x3f")
    ct.SingleCollimationWidth = 0.625
    ct.file_meta.TransferSyntaxUID = syntax
    ds = read(written(ct))
    if decoded:
        assert ds.CTDIvol == ct.CTDIvol
    done = deidentifier.apply(ds)
    assert b"Erika" not in done.encoded()
    assert done.dataset.SingleCollimationWidth == 0.625
    assert any(action.tag == 0x00189345 and action.rule is Rule.IDENTIFIER for action in done.record)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_each_of_several_names_and_numbers_is_learned_as_it_is_encoded(
    deidentifier: Deidentifier, ct: Dataset, syntax: UID
) -> None:
    """They are read without pydicom's decoding; the words of radiology and the short numbers would stay."""
    ct.SpecificCharacterSet = "ISO_IR 192"
    ct.OtherPatientNames = ["Zuckerberger^Anna", "Hand^Jörg"]
    ct.OtherPatientIDs = ["KH-471108", "42-42"]
    ct.SeriesDescription, ct.StudyDescription = "thorax hand", "thorax 42 42"
    ct.ProtocolName = "thorax 42"
    ct.file_meta.TransferSyntaxUID = syntax
    out = deidentifier.apply(read(written(ct))).dataset
    assert (out.SeriesDescription, out.StudyDescription) == ("thorax", "thorax")
    assert out.ProtocolName == "thorax 42"  # nobody's number


def test_names_are_learned_from_what_is_removed_unread(deidentifier: Deidentifier, ct: Dataset) -> None:
    ct.OtherPatientIDsSequence = [item(PatientID="99-ALT-4242")]
    ct.PatientMotherBirthName = "Hand^Long"  # words of radiology
    ct.AnatomicRegionSequence = [item(CodeValue="99ALT4242", CodingSchemeDesignator="99X", CodeMeaning="Lung")]
    ct.SeriesDescription = "left hand, long"
    out = deidentifier.apply(read(written(ct))).dataset
    assert out.SeriesDescription == "left"
    assert "CodeValue" not in out.AnatomicRegionSequence[0]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]}, False),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "OVERVIEW", "NONE"]}, True),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME"], "SpecimenLabelInImage": "YES"}, True),
    ],
)
def test_slide_labels(deidentifier: Deidentifier, ct: Dataset, change: dict[str, object], shown: bool) -> None:
    ct.SOPClassUID, ct.Modality = "1.2.840.10008.5.1.4.1.1.77.1.6", "SM"
    for keyword, value in change.items():
        setattr(ct, keyword, value)
    if not shown:
        assert deidentifier.apply(ct).dataset.Modality == "SM"
        return
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(ct)
    assert caught.value.reason is Reason.BURNED_IN_TEXT
