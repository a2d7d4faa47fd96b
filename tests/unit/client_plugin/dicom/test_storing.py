from collections.abc import Callable
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.dicom.status import StoreStatus
from client_plugin.dicom.storing import SpoolSink, Store, fault
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.reasons import IntakeReason
from client_plugin.intake.spool import Incoming, Origin, Spool

CT, MR, EXPLICIT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.1.2.1"


def head(uid: str, sop_class: str = CT) -> bytes:
    def element(number: int, value: str) -> bytes:
        padded = value.encode() + b"\0" * (len(value) % 2)
        return b"\x08\x00" + number.to_bytes(2, "little") + b"UI" + len(padded).to_bytes(2, "little") + padded

    return element(0x16, sop_class) + element(0x18, uid)


@pytest.mark.parametrize(
    ("origin", "abstract", "data", "expected"),
    [
        (Origin(CT, "1.2", EXPLICIT, "PACS"), CT, head("1.2"), None),
        (Origin(CT, "../x", EXPLICIT, "PACS"), CT, head("../x"), (IntakeReason.UID_INVALID, 0x0117)),
        (Origin(MR, "1.2", EXPLICIT, "PACS"), CT, head("1.2", MR), (IntakeReason.SOP_CLASS_DIFFERS, 0xA900)),
        (Origin(CT, "1.2", EXPLICIT, "PACS"), CT, head("1.3"), (IntakeReason.UIDS_DIFFER, 0xA900)),
        (Origin(CT, "1.2", EXPLICIT, "PACS"), CT, head(""), (IntakeReason.UIDS_MISSING, 0xA900)),
        (Origin(CT, "1.2", EXPLICIT, "PACS"), CT, b"\0" * 128 + b"DICM", (IntakeReason.UNREADABLE, 0xC000)),
    ],
)
def test_faults_have_a_reason_and_the_standards_status(
    origin: Origin, abstract: str, data: bytes, expected: tuple[IntakeReason, int] | None
) -> None:
    assert fault(origin, abstract, data) == expected


class Rig:
    def __init__(self, folder: Path, floor: int = 0) -> None:
        self.spool = Spool(folder / "spool", bytes(32))
        self.spool.take_slot()
        self.catalogue = Catalogue.open(f"sqlite:///{folder / 'catalogue.sqlite'}")
        self.store = Store(self.spool, GroupCommitter(self.spool, self.catalogue), self.catalogue, floor)

    def put(self, data: bytes, uid: str = "1.2") -> StoreStatus:
        sink = self.store.begin(Origin(CT, uid, EXPLICIT, "PACS"))
        sink.write(data)
        return self.store.answer(sink, CT)

    def files(self) -> int:
        return len([*self.spool.folder.glob("*.sealed"), *self.spool.folder.glob("*.part")])


def test_success_means_file_and_row(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert rig.put(head("1.2")) is StoreStatus.SUCCESS
    assert rig.files() == rig.catalogue.counts()["spool_pending"] == 1


def test_a_duplicate_is_a_success_and_a_conflict_is_kept_aside(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert {rig.put(head("1.2")), rig.put(head("1.2"))} == {StoreStatus.SUCCESS}
    assert rig.files() == 1
    assert rig.put(head("1.2") + b"\x10\x00\x10\x00PN\0\0") is StoreStatus.SUCCESS
    assert [row.reason for row in rig.catalogue.quarantined()] == ["uid-conflict"]
    assert rig.files() == 2


def test_a_fault_is_answered_with_failure_and_kept_aside(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    assert rig.put(head("1.3")) is StoreStatus.DOES_NOT_MATCH_SOP_CLASS
    assert [row.reason for row in rig.catalogue.quarantined()] == ["uids-differ"]
    assert rig.catalogue.counts()["spool_pending"] == 0
    assert rig.files() == 1


def test_below_the_floor_nothing_is_taken(tmp_path: Path) -> None:
    rig = Rig(tmp_path, floor=1 << 62)
    assert rig.put(head("1.2")) is StoreStatus.OUT_OF_RESOURCES
    assert rig.files() == 0


@pytest.mark.parametrize("fails_at", ["write", "finish"])
def test_a_disk_that_fills_up_leaves_nothing_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str
) -> None:
    rig = Rig(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Incoming, fails_at, full)
    assert rig.put(head("1.2")) is StoreStatus.OUT_OF_RESOURCES
    assert rig.files() == 0


def test_a_commit_that_fails_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig(tmp_path)

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "publish", broken)
    assert rig.put(head("1.2")) is StoreStatus.OUT_OF_RESOURCES
    assert rig.catalogue.counts()["spool_pending"] == 0


def test_a_discarded_sink_leaves_nothing(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    begin: Callable[[], Incoming] = lambda: rig.spool.begin(Origin(CT, "1.2", EXPLICIT, "PACS"))  # noqa: E731
    sink = SpoolSink(begin)
    sink.write(b"x" * 100)
    sink.discard()
    sink.discard()
    assert rig.files() == 0
    assert sink.finish() is None
