"""Each option at work on an instance."""

from collections.abc import Callable

import pytest
from pydicom import Dataset

from client_plugin.archive.instance import ArchivedInstance
from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Option, Profile, Quarantine, Reason
from client_plugin.intake.deidentify.profile import SWITCHES

from .conftest import FixedKeys, read, written

Apply = Callable[..., Dataset]


@pytest.fixture
def apply(keys: FixedKeys) -> Apply:
    def run(ds: Dataset, **options: object) -> Dataset:
        profile = Profile.from_config(DeidentificationConfig.model_validate(options))
        return read(Deidentifier(profile, keys).apply(read(written(ds))).encoded())

    return run


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def test_patient_characteristics(apply: Apply, ct: Dataset) -> None:
    ct.PatientSex, ct.PatientAge, ct.PatientWeight, ct.PatientSize = "F", "093Y", "71.5", "1.68"
    out = apply(ct, retain_patient_characteristics=True)
    assert (out.PatientSex, out.PatientAge, out.PatientWeight, out.PatientSize) == ("F", "090Y", 71.5, 1.68)
    assert out.PatientBirthDate == ""
    without = apply(ct)
    assert without.PatientSex == ""
    assert not any(keyword in without for keyword in ("PatientAge", "PatientWeight", "PatientSize"))


def test_device_identity(apply: Apply, ct: Dataset) -> None:
    ct.StationName, ct.DeviceSerialNumber = "CT01", "71"
    ct.DateOfLastCalibration = "20240301"
    out = apply(ct, retain_device_identity=True)
    assert out.StationName == "CT01"
    assert out.DateOfLastCalibration not in ("", "20240301")
    assert "StationName" not in apply(ct)


def test_uids(apply: Apply, ct: Dataset) -> None:
    out = apply(ct, retain_uids=True)
    assert (out.SOPInstanceUID, out.StudyInstanceUID) == (ct.SOPInstanceUID, ct.StudyInstanceUID)
    assert out.file_meta.MediaStorageSOPInstanceUID == ct.SOPInstanceUID


def private(ds: Dataset) -> None:
    ds.private_block(0x0019, "SIEMENS MR HEADER", create=True).add_new(0x0C, "IS", "1000")  # b-value
    ds.private_block(0x0019, "SIEMENS MR HEADER").add_new(0x0F, "LO", "Mustermann")
    ds.private_block(0x0019, "ERIKAS BLOCK", create=True).add_new(0x0C, "IS", "1000")


def test_safe_private(apply: Apply, ct: Dataset) -> None:
    private(ct)
    out = apply(ct, retain_safe_private=True)
    assert out.private_block(0x0019, "SIEMENS MR HEADER")[0x0C].value == 1000
    kept = [e for e in out.iterall() if e.tag.is_private and e.tag.group == 0x0019 and not e.tag.is_private_creator]
    assert len(kept) == 4  # three of GE's in the file are in the table as well
    assert b"ERIKAS" not in written(out)
    assert b"ustermann" not in written(out)
    assert not any(e.tag.is_private for e in apply(ct).iterall())


def test_graphics(apply: Apply, ct: Dataset) -> None:
    text = item(UnformattedTextValue="tumor of Mrs. Mustermann", BoundingBoxAnnotationUnits="PIXEL")
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.11.1"
    ct.Modality = "PR"
    del ct.PixelData
    ct.GraphicAnnotationSequence = [item(GraphicLayer="ERIKA", TextObjectSequence=[text])]
    (annotation,) = apply(ct).GraphicAnnotationSequence
    assert annotation.TextObjectSequence[0].UnformattedTextValue == "tumor of"
    assert "GraphicAnnotationSequence" not in apply(ct, clean_graphics=False)


def report(ds: Dataset) -> None:
    name = [item(CodeValue="121008", CodingSchemeDesignator="DCM", CodeMeaning="Person Observer Name")]
    finding = [item(CodeValue="121071", CodingSchemeDesignator="DCM", CodeMeaning="Finding")]
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.33"
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "SR", "CONTAINER", "SEPARATE"
    del ds.PixelData
    ds.VerifyingObserverSequence = [
        item(VerifyingObserverName="Quacksalber^Wilfried", VerifyingOrganization="Klinikum")
    ]
    ds.ContentSequence = [
        item(ValueType="PNAME", ConceptNameCodeSequence=name, PersonName="Zwiebelfisch^Anna"),
        item(ValueType="TEXT", ConceptNameCodeSequence=finding, TextValue="lesion, seen by Zwiebelfisch"),
        item(ValueType="TEXT", ConceptNameCodeSequence=finding, TextValue="Zwiebelfisch"),
        item(ValueType="DATE", ConceptNameCodeSequence=finding, Date="20240301"),
    ]


def test_structured_reports_keep_their_shape(apply: Apply, ct: Dataset) -> None:
    report(ct)
    out = apply(ct)
    names, lesion, nothing, day = out.ContentSequence
    assert names.PersonName == "REMOVED"
    assert lesion.TextValue.startswith("lesion")
    assert nothing.TextValue == "REMOVED"
    assert day.Date not in ("", "20240301")
    assert lesion.ConceptNameCodeSequence[0].CodeMeaning == "Finding"
    assert out.VerifyingObserverSequence[0].VerifyingObserverName == "REMOVED"
    assert b"wiebelfisch" not in written(out)


def test_without_the_option_reports_are_quarantined(apply: Apply, ct: Dataset) -> None:
    report(ct)
    with pytest.raises(Quarantine) as caught:
        apply(ct, clean_structured_content=False)
    assert caught.value.reason is Reason.UNSUPPORTED_CONTENT
    assert caught.value.pseudonym is not None


def test_descriptors_off_means_gone(apply: Apply, ct: Dataset) -> None:
    assert "SeriesDescription" not in apply(ct, clean_descriptors=False)


def test_a_structure_set_keeps_its_names_and_loses_its_people(apply: Apply, ct: Dataset) -> None:
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    ct.Modality = "RTSTRUCT"
    del ct.PixelData
    ct.ReviewerName = "Quacksalber^Wilfried"
    ct.StructureSetLabel = "Plan Mustermann"
    ct.StructureSetROISequence = [item(ROINumber=1, ROIName="GTV-1"), item(ROINumber=2, ROIName="Erika left lung")]
    ct.RTROIObservationsSequence = [item(ObservationNumber=1, ReferencedROINumber=1, ROIInterpreter="Anna^Zwiebel")]
    out = apply(ct)
    assert [roi.ROIName for roi in out.StructureSetROISequence] == ["GTV-1", "left lung"]
    assert [roi.ROINumber for roi in out.StructureSetROISequence] == [1, 2]
    for planted in (b"uacksalber", b"ustermann", b"rika", b"wiebel"):
        assert planted not in written(out)


def test_the_catalogue_learns_the_rules(keys: FixedKeys, ct: Dataset) -> None:
    profile = Profile.from_config(DeidentificationConfig())
    done = Deidentifier(profile, keys).apply(ct)
    assert ArchivedInstance.from_dataset(done.dataset, done.pseudonym).rules == profile.digest == done.profile_digest


@pytest.mark.parametrize("key", SWITCHES)
@pytest.mark.parametrize("on", [True, False])
def test_every_option_is_recorded_with_its_code(apply: Apply, ct: Dataset, key: str, *, on: bool) -> None:
    codes = {code.CodeValue: code for code in apply(ct, **{key: on}).DeidentificationMethodCodeSequence}
    option = SWITCHES[key]
    assert (option.code in codes) is on
    assert Option.BASIC.code in codes
    for code in codes.values():
        assert (code.CodingSchemeDesignator, code.CodeMeaning) == (
            "DCM",
            Option((code.CodeValue, code.CodeMeaning)).meaning,
        )
