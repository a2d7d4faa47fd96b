from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import FileDataset

from client_plugin.config import NodeConfig
from client_plugin.dicom.send import sender as module
from client_plugin.dicom.send.dimse import contexts
from client_plugin.dicom.send.outbox import Outbox, SendReason, SendState
from client_plugin.dicom.send.sender import Sender

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONFIG = NodeConfig.model_validate(
    {
        "site": "hospital-a",
        "dicom": {"peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": 104},
                            {"ae_title": "CT1", "addresses": ["127.0.0.1"]}]},
        "send": {"max_tries": 3, "retry_seconds": 60, "retry_max_seconds": 100},
    }
)  # fmt: skip


class Script:
    """A destination that answers as it is told, batch by batch."""

    def __init__(self, *answers: list[SendReason | None]) -> None:
        self.answers = list(answers)
        self.sizes: list[int] = []

    def deliver(self, batch: Sequence[FileDataset]) -> list[SendReason | None]:
        self.sizes.append(len(batch))
        return self.answers.pop(0)


class Rig:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, script: Script | None = None) -> None:
        self.outbox = Outbox(folder, bytes(32))
        self.time = NOW
        self.sender = Sender(CONFIG, self.outbox, now=lambda: self.time, draw=lambda: 0.0)
        if script is not None:
            monkeypatch.setattr(module, "delivery", lambda *_: script)

    def put(self, destination: str = "PACS") -> None:
        buffer = BytesIO()
        pydicom.dcmread(get_testdata_file("CT_small.dcm")).save_as(buffer)
        self.outbox.put(buffer.getvalue(), destination, NOW)

    def states(self) -> list[tuple[SendState, SendReason | None]]:
        return sorted((job.state, job.reason) for job in self.outbox.jobs())


def test_one_that_is_refused_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch, Script([None, SendReason.REFUSED, None]))
    for _ in range(3):
        rig.put()
    assert rig.sender.work() == 3
    assert sorted(job.state for job in rig.outbox.jobs()) == ["failed", "sent", "sent"]
    assert rig.sender.work() == 0


def test_a_passing_failure_is_tried_again_with_backoff_and_given_up_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path, monkeypatch, Script(*[[SendReason.UNREACHABLE]] * 3))
    rig.put()
    rig.sender.work()
    assert rig.sender.work() == 0
    rig.time = NOW + timedelta(seconds=60)
    assert rig.sender.work() == 1
    rig.time += timedelta(seconds=99)
    assert rig.sender.work() == 0
    rig.time += timedelta(seconds=1)
    assert rig.sender.work() == 1
    assert rig.states() == [(SendState.FAILED, SendReason.UNREACHABLE)]


def test_a_destination_that_is_not_configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch)
    for destination in ("NOBODY", "CT1", module.WEB):
        rig.put(destination)
    rig.sender.work()
    assert rig.states() == [(SendState.WAITING, SendReason.UNKNOWN_DESTINATION)] * 3


def test_what_cannot_be_read_is_given_up_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path, monkeypatch, Script([None]))
    rig.outbox.put(b"no DICOM", "PACS", NOW)
    rig.put()
    rig.sender.work()
    assert rig.states() == [(SendState.FAILED, SendReason.UNREADABLE), (SendState.SENT, None)]


def test_many_are_sent_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    script = Script([None, None], [None, None], [None])
    rig = Rig(tmp_path, monkeypatch, script)
    for _ in range(5):
        rig.put()
    rig.sender.work()
    assert script.sizes == [2, 2, 1]


def test_what_is_proposed_keeps_compressed_instances_compressed() -> None:
    plain = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    compressed = pydicom.dcmread(get_testdata_file("MR_small_RLE.dcm"))
    proposed = [(str(cx.abstract_syntax), [str(s) for s in cx.transfer_syntax]) for cx in contexts([plain, compressed])]
    assert proposed == [
        (str(plain.SOPClassUID), ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"]),
        (str(compressed.SOPClassUID), ["1.2.840.10008.1.2.5"]),
    ]
