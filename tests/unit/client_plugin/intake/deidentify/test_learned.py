import pytest
from pydicom import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from client_plugin.intake.deidentify.learned import Lesson, _identifiers, identifiers, lessons, tells

from .conftest import read, written

PATIENT_NAME, PATIENT_ID, BIRTH_DATE, OTHER_IDS = 0x00100010, 0x00100020, 0x00100030, 0x00101002


def told(ds: Dataset, tag: int) -> frozenset[Lesson]:
    return frozenset(lessons(ds, ds.get_item(BaseTag(tag))))


def test_which_attributes_tell() -> None:
    assert all(map(tells, (PATIENT_NAME, PATIENT_ID, BIRTH_DATE, OTHER_IDS)))
    assert not any(map(tells, (0x00280010, 0x00081030, 0x00091001)))  # Rows, StudyDescription, a private one


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("decoded", [False, True])
def test_encoded_and_decoded_elements_tell_the_same(ct: Dataset, syntax: UID, decoded: bool) -> None:
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = "99-ALT-4242", "Krankenhaus-West"
    ct.SpecificCharacterSet = "ISO_IR 192"
    ct.PatientName = "Krähe^Jörg"
    ct.OtherPatientIDsSequence = [item]
    ct.file_meta.TransferSyntaxUID = syntax
    ds = read(written(ct))
    if decoded:
        assert str(ds.PatientName)
        assert len(ds.OtherPatientIDsSequence) == 1
    known = identifiers(told(ds, PATIENT_NAME) | told(ds, OTHER_IDS) | told(ds, BIRTH_DATE))
    assert all(map(known.is_word, ("krahe", "kraehe", "jorg")))
    assert known.found_in("id 99alt4242")
    assert known.found_in("Krankenhaus West")
    assert known.found_in("geb. 12.03.1957")
    assert not known.found_in("CT thorax 3 mm")


def test_what_cannot_be_decoded_tells_nothing(ct: Dataset) -> None:
    broken = Lesson(OTHER_IDS, "SQ", b"\xfe\xff\x00\xe0\xff\xff\x00\x00no item", implicit=False)
    known = identifiers(frozenset({broken, *told(ct, PATIENT_ID)}))
    assert known.found_in("PID 4711 08")


def test_instances_that_tell_the_same_share_their_identifiers(ct: Dataset) -> None:
    one, other = read(written(ct)), read(written(ct))
    assert identifiers(told(one, PATIENT_NAME)) is identifiers(told(other, PATIENT_NAME))
    other.PatientName = "Sonst^Wer"
    assert identifiers(told(one, PATIENT_NAME)) is not identifiers(told(other, PATIENT_NAME))


@pytest.mark.parametrize("number", ["№4711", "ꭰ4711", "Ꭰ4711"])
def test_what_is_told_does_not_depend_on_the_order_it_is_told_in(number: str) -> None:
    """Python's sets of texts have another order in every process."""
    for first, last in ((PATIENT_ID, BIRTH_DATE), (BIRTH_DATE, PATIENT_ID)):
        values = {PATIENT_ID: number, BIRTH_DATE: "19570312"}
        known = _identifiers([Lesson(tag, None, values[tag]) for tag in (first, last)], shared=False)
        assert known.found_in(number)
        assert known.found_in(number.lower())
        assert known.found_in(number.replace("4711", " 4711"))
        assert known.found_in("12MAR57")


def test_what_is_long_is_not_kept_in_memory() -> None:
    long = frozenset({Lesson(PATIENT_ID, None, "4711-" * 20_000)})
    assert identifiers(long) is not identifiers(long)
    assert identifiers(long).found_in("4711-" * 20_000)
