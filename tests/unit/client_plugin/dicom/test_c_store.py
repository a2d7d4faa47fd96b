import contextlib
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, DIMSEMessage
from pynetdicom.dimse_primitives import C_ECHO, C_STORE
from pynetdicom.pdu import P_DATA_TF

from client_plugin.dicom.c_store import StoreRequest, store_request, store_response

CT = "1.2.840.10008.5.1.4.1.1.2"


def encoded(message: DIMSEMessage) -> bytes:
    return next(message.encode_msg(1, 0)).presentation_data_value_list[0][1][1:]


def request(uid: str, data: bytes | None = b"data") -> bytes:
    primitive = C_STORE()
    primitive.MessageID, primitive.Priority = 7, 2
    primitive.AffectedSOPClassUID, primitive.AffectedSOPInstanceUID = CT, uid
    primitive.DataSet = BytesIO(data) if data is not None else None
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    return encoded(message)


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_we_read_what_pynetdicom_writes(uid: str) -> None:
    assert store_request(request(uid)) == StoreRequest(7, CT, uid, has_data_set=True)
    assert store_request(request(uid, None)) == StoreRequest(7, CT, uid, has_data_set=False)


def test_another_command_is_left_to_others() -> None:
    primitive = C_ECHO()
    primitive.MessageID, primitive.AffectedSOPClassUID = 1, "1.2.840.10008.1.1"
    message = C_ECHO_RQ()
    message.primitive_to_message(primitive)
    assert store_request(encoded(message)) is None


@pytest.mark.parametrize(
    "broken",
    [b"\0" * 5, b"\x08\0\0\0\0\0\0\0", b"\0\0\0\1\xff\xff\xff\xff\1\0", b"\0\0\0\1\2\0\0\0\1\0"],
    ids=["cut", "other group", "length", "nothing mandatory"],
)
def test_what_is_no_command_is_an_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"command|mandatory"):
        store_request(broken)


@given(st.binary(max_size=200))
def test_any_bytes_give_an_answer_or_a_value_error(command: bytes) -> None:
    with contextlib.suppress(ValueError):
        store_request(command)


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xC000])
def test_pynetdicom_reads_what_we_write(instance: str, status: int) -> None:
    response = store_response(7, StoreRequest(65535, CT, instance, has_data_set=True), status)
    pdu = P_DATA_TF()
    pdu.decode(response)
    message = DIMSEMessage()
    assert message.decode_msg(pdu.to_primitive())
    answer = message.message_to_primitive()
    assert answer.is_valid_response
    assert (message.context_id, answer.MessageIDBeingRespondedTo, answer.Status) == (7, 65535, status)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, instance)
    assert message.command_set.CommandGroupLength == len(response) - 12 - 12
