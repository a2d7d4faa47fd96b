"""Objects that are no pictures: handled by content, or quarantined; none passes as it is."""

import pytest
from pydicom import Dataset
from pydicom.uid import (
    UID,
    BasicVoiceAudioWaveformStorage,
    BlendingSoftcopyPresentationStateStorage,
    ColorSoftcopyPresentationStateStorage,
    EncapsulatedCDAStorage,
    EncapsulatedPDFStorage,
    EncapsulatedSTLStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    RawDataStorage,
    RTPlanStorage,
    RTStructureSetStorage,
    SegmentationStorage,
)

from client_plugin.intake.deidentify import Deidentifier, Quarantine, Reason

from .conftest import read, written

PEOPLE = (b"uacksalber", b"wiebelfisch", b"rika", b"ustermann")


def item(**attributes: object) -> Dataset:
    ds = Dataset()
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    return ds


def instance(ct: Dataset, sop_class: UID, modality: str, **attributes: object) -> Dataset:
    ct.SOPClassUID = ct.file_meta.MediaStorageSOPClassUID = sop_class
    ct.Modality = modality
    del ct.PixelData
    for keyword, value in attributes.items():
        setattr(ct, keyword, value)
    return read(written(ct))


@pytest.mark.parametrize(
    "sop_class",
    [
        EncapsulatedPDFStorage,
        EncapsulatedCDAStorage,
        EncapsulatedSTLStorage,
        RawDataStorage,
        BasicVoiceAudioWaveformStorage,
    ],
)
def test_documents_and_unknown_formats_are_quarantined(deidentifier: Deidentifier, ct: Dataset, sop_class: UID) -> None:
    ds = instance(ct, sop_class, "DOC", EncapsulatedDocument=b"%PDF-1.4 Erika Mustermann", DocumentTitle="Arztbrief")
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(ds)
    assert caught.value.reason is Reason.UNSUPPORTED_CONTENT


@pytest.mark.parametrize(
    "sop_class",
    [
        GrayscaleSoftcopyPresentationStateStorage,
        ColorSoftcopyPresentationStateStorage,
        BlendingSoftcopyPresentationStateStorage,
    ],
)
def test_a_presentation_state_loses_its_author_and_keeps_its_references(
    deidentifier: Deidentifier, ct: Dataset, sop_class: UID
) -> None:
    image = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID=ct.SOPInstanceUID)
    series = item(SeriesInstanceUID=ct.SeriesInstanceUID, ReferencedImageSequence=[image])
    text = item(UnformattedTextValue="lesion Mustermann", AnchorPoint=[1.0, 2.0], AnchorPointAnnotationUnits="PIXEL")
    ds = instance(
        ct,
        sop_class,
        "PR",
        ContentLabel="ZWIEBELFISCH LIVER",
        ContentDescription="liver lesion of Erika",
        ContentCreatorName="Quacksalber^Wilfried",
        ReferencedSeriesSequence=[series],
        GraphicAnnotationSequence=[item(GraphicLayer="LAYER1", TextObjectSequence=[text])],
    )
    out = deidentifier.apply(ds)
    after = read(out.encoded())
    assert not any(name in out.encoded() for name in PEOPLE)
    assert after.ContentLabel == "LIVER"  # a code string that nobody in the instance is called by
    if "ReferencedSeriesSequence" in after:  # a blending state refers in another place
        (reference,) = after.ReferencedSeriesSequence
        assert reference.SeriesInstanceUID == after.SeriesInstanceUID
        assert reference.ReferencedImageSequence[0].ReferencedSOPInstanceUID == after.SOPInstanceUID
    if "GraphicAnnotationSequence" in after:
        assert after.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue == "lesion"


def test_a_segmentation_loses_its_author_and_keeps_its_labels(deidentifier: Deidentifier, ct: Dataset) -> None:
    organ = [item(CodeValue="10200004", CodingSchemeDesignator="SCT", CodeMeaning="Liver")]
    ds = instance(
        ct,
        SegmentationStorage,
        "SEG",
        ContentCreatorName="Zwiebelfisch^Anna",
        ContentDescription="segmentation by Zwiebelfisch",
        SegmentSequence=[
            item(
                SegmentNumber=1,
                SegmentLabel="liver",
                SegmentDescription="drawn by Zwiebelfisch",
                SegmentAlgorithmType="MANUAL",
                SegmentedPropertyTypeCodeSequence=organ,
            )
        ],
    )
    out = deidentifier.apply(ds)
    (segment,) = read(out.encoded()).SegmentSequence
    assert (segment.SegmentNumber, segment.SegmentLabel) == (1, "liver")
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Liver"
    assert not any(name in out.encoded() for name in PEOPLE)


def test_a_structure_set_keeps_its_references(deidentifier: Deidentifier, ct: Dataset) -> None:
    image = item(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2", ReferencedSOPInstanceUID="1.2.3.9")
    series = item(SeriesInstanceUID=ct.SeriesInstanceUID, ContourImageSequence=[image])
    study = item(
        ReferencedSOPClassUID="1.2.840.10008.3.1.2.3.1",
        ReferencedSOPInstanceUID=ct.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    frame = item(FrameOfReferenceUID=ct.FrameOfReferenceUID, RTReferencedStudySequence=[study])
    contour = item(ContourGeometricType="POINT", NumberOfContourPoints=1, ContourData=[1.0, 2.0, 3.0])
    contour.ContourImageSequence = [image]
    ds = instance(
        ct,
        RTStructureSetStorage,
        "RTSTRUCT",
        ReviewerName="Quacksalber^Wilfried",
        ApprovalStatus="APPROVED",
        ReferencedFrameOfReferenceSequence=[frame],
        StructureSetROISequence=[
            item(ROINumber=1, ROIName="GTV-1", ReferencedFrameOfReferenceUID=ct.FrameOfReferenceUID)
        ],
        ROIContourSequence=[item(ReferencedROINumber=1, ContourSequence=[contour])],
    )
    out = deidentifier.apply(ds)
    after = read(out.encoded())
    assert b"uacksalber" not in out.encoded()
    (found,) = after.ReferencedFrameOfReferenceSequence
    (of_study,) = found.RTReferencedStudySequence
    (of_series,) = of_study.RTReferencedSeriesSequence
    assert of_study.ReferencedSOPInstanceUID == after.StudyInstanceUID
    assert of_series.SeriesInstanceUID == after.SeriesInstanceUID
    assert after.StructureSetROISequence[0].ReferencedFrameOfReferenceUID == found.FrameOfReferenceUID
    (kept,) = after.ROIContourSequence[0].ContourSequence
    assert kept.ContourData == [1.0, 2.0, 3.0]
    assert (
        kept.ContourImageSequence[0].ReferencedSOPInstanceUID
        == of_series.ContourImageSequence[0].ReferencedSOPInstanceUID
        != "1.2.3.9"
    )


@pytest.mark.parametrize(
    ("sop_class", "modality", "attributes"),
    [
        (RTPlanStorage, "RTPLAN", {"RTPlanLabel": "Erika", "OperatorsName": "Zwiebelfisch^Anna"}),
        (KeyObjectSelectionDocumentStorage, "KO", {"ContentDescription": "for Dr. Quacksalber"}),
    ],
)
def test_other_documents_lose_their_people(
    deidentifier: Deidentifier, ct: Dataset, sop_class: UID, modality: str, attributes: dict[str, object]
) -> None:
    out = deidentifier.apply(instance(ct, sop_class, modality, **attributes)).encoded()
    assert not any(name in out for name in PEOPLE)
    assert read(out).SOPClassUID == sop_class
