"""The sender against a real listener (pynetdicom's) in this process, over TCP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom import AE, evt
from pynetdicom.events import Event

from demo.data import DataFolder
from demo.pacs import AssociationLost, Destination, SendFailed, send
from demo.studies import instances


@contextmanager
def _listener(store: Callable[[Event], int], *syntaxes: str) -> Iterator[Destination]:
    entity = AE("NODE")
    entity.require_called_aet = True
    entity.require_calling_aet = ["PACS_C"]
    entity.add_supported_context(CTImageStorage, list(syntaxes))
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    try:
        yield Destination("127.0.0.1", server.server_address[1], "NODE", "PACS_C")
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def slices(data: DataFolder) -> list[FileDataset]:
    return [dataset for dataset, _ in zip(instances("c", data), range(4), strict=False)]


def test_all_instances_arrive_compressed_as_they_are(slices: list[FileDataset]) -> None:
    received: list[tuple[str, str]] = []

    def store(event: Event) -> int:
        received.append((event.context.transfer_syntax, event.request.AffectedSOPInstanceUID))
        return 0xB007 if len(received) == 2 else 0x0000

    counted: list[int] = []
    with _listener(store, JPEG2000Lossless) as node:
        sent = send(slices, node, counted.append)
    assert received == [(JPEG2000Lossless, ds.SOPInstanceUID) for ds in slices]
    assert counted == [1, 2, 3, 4]
    assert (sent.instances, sent.warnings, sent.resent) == (4, 1, 0)


def test_a_failure_status_stops_the_sender(slices: list[FileDataset]) -> None:
    counted: list[int] = []
    with (
        _listener(lambda event: 0xA700, JPEG2000Lossless) as node,
        pytest.raises(SendFailed, match=r"0xA700.*resources"),
    ):
        send(slices, node, counted.append)
    assert not counted


def test_an_unanswered_instance_is_sent_again_on_a_new_association(slices: list[FileDataset]) -> None:
    received: list[str] = []

    def store(event: Event) -> int:
        received.append(event.request.AffectedSOPInstanceUID)
        if len(received) == 2:
            event.assoc.abort()
        return 0x0000

    with _listener(store, JPEG2000Lossless) as node:
        sent = send(slices, node)
    assert received == [slices[i].SOPInstanceUID for i in (0, 1, 1, 2, 3)]
    assert (sent.instances, sent.resent) == (4, 1)


def test_a_node_that_never_answers_is_given_up(slices: list[FileDataset]) -> None:
    tries: list[int] = []

    def store(event: Event) -> int:
        tries.append(1)
        event.assoc.abort()
        return 0x0000

    with _listener(store, JPEG2000Lossless) as node, pytest.raises(AssociationLost, match="instance 1"):
        send(slices, node)
    assert len(tries) == 3


def test_pixels_are_not_sent_in_another_syntax(slices: list[FileDataset]) -> None:
    with _listener(lambda event: 0, ExplicitVRLittleEndian) as node, pytest.raises(SendFailed, match="JPEG 2000"):
        send(slices, node)


def test_a_node_that_does_not_know_the_pacs_is_named(slices: list[FileDataset]) -> None:
    with _listener(lambda event: 0, JPEG2000Lossless) as node, pytest.raises(SendFailed, match=r"dicom\.peers"):
        send(slices, Destination(node.host, node.port, node.called, "STRANGER"))


def test_nobody_listening_is_named(slices: list[FileDataset]) -> None:
    with _listener(lambda event: 0, JPEG2000Lossless) as node:
        pass
    with pytest.raises(SendFailed, match="no DICOM listener"):
        send(slices, node)
