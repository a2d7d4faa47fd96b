import pytest
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.pdu import P_DATA_TF

from client_plugin.dicom.response import c_store_response


@pytest.mark.parametrize("instance", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize("status", [0x0000, 0xA700, 0xC000])
def test_pynetdicom_reads_what_we_write(instance: str, status: int) -> None:
    pdu = P_DATA_TF()
    pdu.decode(c_store_response(7, 65535, "1.2.840.10008.5.1.4.1.1.2", instance, status))
    message = DIMSEMessage()
    assert message.decode_msg(pdu.to_primitive())
    response = message.message_to_primitive()
    assert type(response).__name__ == "C_STORE"
    assert response.is_valid_response
    assert (message.context_id, response.MessageIDBeingRespondedTo, response.Status) == (7, 65535, status)
    assert response.AffectedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert response.AffectedSOPInstanceUID == instance
    length = message.command_set.CommandGroupLength
    assert length == len(c_store_response(7, 65535, "1.2.840.10008.5.1.4.1.1.2", instance, status)) - 12 - 12
