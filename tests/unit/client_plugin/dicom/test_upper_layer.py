import pytest

from client_plugin.dicom.upper_layer import presentation_data_values


def item(context_id: int, value: bytes) -> bytes:
    return (len(value) + 1).to_bytes(4, "big") + bytes([context_id]) + value


def test_the_items_of_a_pdu_come_one_by_one() -> None:
    pdu = item(1, b"\x03command") + item(3, b"\x02data")
    assert [(context_id, bytes(value)) for context_id, value in presentation_data_values(memoryview(pdu))] == [
        (1, b"\x03command"),
        (3, b"\x02data"),
    ]


@pytest.mark.parametrize(
    "pdu",
    [
        b"\0\0\0",
        item(1, b""),  # no message control header
        item(1, b"\x02data")[:-1],
        b"\xff\xff\xff\xff\1\2",
        b"\0\0\0\0\1",
    ],
    ids=["short", "empty", "cut", "huge", "zero"],
)
def test_items_that_do_not_fit_are_refused(pdu: bytes) -> None:
    with pytest.raises(ValueError, match="item"):
        list(presentation_data_values(memoryview(pdu)))
