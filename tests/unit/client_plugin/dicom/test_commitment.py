import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from client_plugin.dicom.commitment import Reference, Request, parse, report

CT = "1.2.840.10008.5.1.4.1.1.2"


def information(*uids: str, transaction: str = "1.2.3") -> Dataset:
    dataset = Dataset()
    dataset.TransactionUID = transaction
    items = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CT, uid
        items.append(item)
    dataset.ReferencedSOPSequence = Sequence(items)
    return dataset


def test_a_request_is_read() -> None:
    assert parse(information("1.1", "1.2")) == Request("1.2.3", (Reference(CT, "1.1"), Reference(CT, "1.2")))


@pytest.mark.parametrize(
    "broken", [Dataset(), information(), information("../x"), information("1.1", transaction="x"), information("")]
)
def test_what_is_no_request_is_an_error(broken: Dataset) -> None:
    with pytest.raises(ValueError, match=r"commitment|reference"):
        parse(broken)


def test_a_report_says_of_each_instance_whether_it_is_held() -> None:
    request = parse(information("1.1", "1.2"))
    event, answer = report(request, lambda reference: reference.sop_instance_uid == "1.1")
    assert (event, answer.TransactionUID) == (2, "1.2.3")
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.1"]
    assert [(i.ReferencedSOPInstanceUID, i.FailureReason) for i in answer.FailedSOPSequence] == [("1.2", 0x0112)]
    event, answer = report(request, lambda _: True)
    assert event == 1
    assert "FailedSOPSequence" not in answer
    _, answer = report(request, lambda _: False)
    assert "ReferencedSOPSequence" not in answer
