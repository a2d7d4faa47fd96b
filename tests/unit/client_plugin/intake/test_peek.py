import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from client_plugin.intake.peek import HEAD_SIZE, Named, Naming, naming, valid_uid

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
BIG, DEFLATED = "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
CT = "1.2.840.10008.5.1.4.1.1.2"
COMMAND = Named(CT, "1.2.3.4")


def encode(dataset: Dataset, syntax: str) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR = syntax == IMPLICIT
    buffer.is_little_endian = syntax != BIG
    write_dataset(buffer, dataset)
    encoded = buffer.getvalue()
    if syntax == DEFLATED:
        compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = compressor.compress(encoded) + compressor.flush()
    return encoded


def instance(sop_class: str = CT, uid: str = "1.2.3.4") -> Dataset:
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = uid
    dataset.PatientName = "X" * 200
    return dataset


@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG, DEFLATED])
def test_names_are_read_in_every_encoding(syntax: str) -> None:
    assert naming(encode(instance(), syntax), syntax, COMMAND) is Naming.AGREES
    assert naming(encode(instance(uid="1.2.3.5"), syntax), syntax, COMMAND) is Naming.DIFFERS
    assert naming(encode(instance(sop_class="1.2"), syntax), syntax, COMMAND) is Naming.DIFFERS
    assert naming(encode(instance(uid=""), syntax), syntax, COMMAND) is Naming.MISSING


def test_a_data_set_without_names() -> None:
    dataset = Dataset()
    dataset.PatientName = "Somebody"
    assert naming(encode(dataset, EXPLICIT), EXPLICIT, COMMAND) is Naming.MISSING
    assert naming(b"", EXPLICIT, COMMAND) is Naming.MISSING


def test_the_command_in_another_encoding_than_negotiated_is_unreadable() -> None:
    assert naming(encode(instance(), IMPLICIT), EXPLICIT, COMMAND) is Naming.UNREADABLE
    assert naming(encode(instance(), EXPLICIT), IMPLICIT, COMMAND) is Naming.UNREADABLE


def test_a_whole_file_sent_as_a_data_set_is_unreadable() -> None:
    assert naming(b"\0" * 128 + b"DICM" + encode(instance(), EXPLICIT), EXPLICIT, COMMAND) is Naming.UNREADABLE


def test_a_length_beyond_the_end_is_unreadable() -> None:
    assert naming(encode(instance(), EXPLICIT)[:40], EXPLICIT, COMMAND) is Naming.UNREADABLE


def test_a_long_group_before_the_names_is_left_to_the_worker() -> None:
    dataset = instance()
    dataset.LanguageCodeSequence = [Dataset() for _ in range(2)]
    dataset["LanguageCodeSequence"].is_undefined_length = True
    assert naming(encode(dataset, EXPLICIT), EXPLICIT, COMMAND) is Naming.UNDECIDED
    dataset = instance()
    dataset.add_new(0x00080012, "UN", b"x" * HEAD_SIZE)
    assert naming(encode(dataset, EXPLICIT)[:HEAD_SIZE], EXPLICIT, COMMAND) is Naming.UNDECIDED


@given(head=st.binary(max_size=600), syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG, DEFLATED, "1.2"]))
def test_any_bytes_give_an_answer(head: bytes, syntax: str) -> None:
    assert isinstance(naming(head, syntax, COMMAND), Naming)


@given(data=st.data(), syntax=st.sampled_from([IMPLICIT, EXPLICIT, BIG]))
def test_a_damaged_head_never_agrees_with_another_name(data: st.DataObject, syntax: str) -> None:
    encoded = bytearray(encode(instance(uid="9.9"), syntax))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    assert naming(bytes(encoded), syntax, COMMAND) is not Naming.AGREES


@pytest.mark.parametrize("value", ["1", "1.2.840.10008.1.2", "1.002.3", "1." + "2" * 62])
def test_uids(value: str) -> None:
    assert valid_uid(value)


@pytest.mark.parametrize(
    "value", ["", ".", "1.", "1..2", "../../etc/passwd", "1.2\n", "1.2\\3", "١.٢", "1." + "2" * 63]
)
def test_what_is_no_uid(value: str) -> None:
    assert not valid_uid(value)
