import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from client_plugin.archive.catalogue import Catalogue
from client_plugin.config import NodeConfig
from client_plugin.dicom.reporting import KEEP, Reporting
from tests.unit.client_plugin.archive.conftest import START
from tests.unit.client_plugin.archive.test_studies import received
from tests.unit.client_plugin.dicom.test_commitment import information

KEY = bytes(32)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue.open(f"sqlite:///{tmp_path}/catalogue.sqlite")
    yield opened
    opened.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Clock:
    now = START

    def __call__(self):
        return self.now


def reporting(catalogue: Catalogue, port: int, clock: Clock | None = None) -> Reporting:
    peers = [
        {"ae_title": "PACS", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": port},
        {"ae_title": "CT1", "addresses": ["127.0.0.1"]},
    ]
    config = NodeConfig.model_validate({"site": "hospital-a", "dicom": {"peers": peers}})
    return Reporting(config, catalogue, key=KEY, digest=lambda uid: f"digest {uid}", now=clock or Clock())


@contextmanager
def pacs(port: int, reports: list[tuple[int, Dataset]], status: int = 0x0000) -> Iterator[None]:
    """A real peer that takes reports."""

    def take(event: Any) -> tuple[int, Dataset]:
        reports.append((event.event_type, event.event_information))
        return status, Dataset()

    entity = AE("PACS")
    context = build_context(StorageCommitmentPushModel)
    context.scu_role, context.scp_role = False, True
    entity.supported_contexts = [context]
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, take)])
    try:
        yield
    finally:
        server.shutdown()


def test_requests_that_cannot_be_served_get_the_standards_status(catalogue: Catalogue) -> None:
    taken = reporting(catalogue, 9)
    assert taken.request("PACS", 1, lambda: information("1.1")) == 0x0000
    assert taken.request("PACS", 2, lambda: information("1.1")) == 0x0123
    assert taken.request("PACS", 1, Dataset) == 0x0115
    assert taken.request("CT1", 1, lambda: information("1.1")) == 0x0110  # nowhere to report to
    assert taken.request(None, 1, lambda: information("1.1")) == 0x0110


def test_a_request_that_cannot_be_kept_is_not_accepted(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Catalogue, "keep_commitment", lambda *_: 1 / 0)
    assert reporting(catalogue, 9).request("PACS", 1, lambda: information("1.1")) == 0x0110


def test_a_report_waits_for_its_peer_and_outlives_the_process(catalogue: Catalogue, tmp_path: Path) -> None:
    received(catalogue, "digest 1.1", START)
    port, clock = free_port(), Clock()
    first = reporting(catalogue, port, clock)
    assert first.request("PACS", 1, lambda: information("1.1", "1.2")) == 0x0000
    assert b"1.2.3" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())  # the transaction, sealed
    assert first.work() == 1  # nobody there
    reports: list[tuple[int, Dataset]] = []
    second = reporting(catalogue, port, clock)
    with pacs(port, reports):
        assert second.work() == 0  # not yet
        clock.now += timedelta(seconds=5)
        assert second.work() == 1
        clock.now += timedelta(hours=2)
        assert second.work() == 0
    ((event, answer),) = reports
    assert (event, answer.TransactionUID) == (2, "1.2.3")
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == ["1.1"]
    assert [item.ReferencedSOPInstanceUID for item in answer.FailedSOPSequence] == ["1.2"]


def test_a_peer_that_never_takes_the_report_is_given_up_after_a_day(catalogue: Catalogue) -> None:
    port, clock = free_port(), Clock()
    asked = reporting(catalogue, port, clock)
    asked.request("PACS", 1, lambda: information("1.1"))
    reports: list[tuple[int, Dataset]] = []
    with pacs(port, reports, status=0x0110):
        assert asked.work() == 1
        clock.now += KEEP
        assert asked.work() == 1
        clock.now += KEEP
        assert asked.work() == 0
    assert len(reports) == 2
