import errno
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy.exc import OperationalError

from client_plugin.archive.additions import Addition
from client_plugin.archive.archive import Archive, Written
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.received import ReceivedRow
from client_plugin.config import DeidentificationConfig, NodeConfig
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.deidentify import Deidentifier, Profile
from client_plugin.intake.pipeline import Pipeline, is_trouble
from client_plugin.intake.spool import Origin, Spool
from client_plugin.intake.study_names import StudyNames
from client_plugin.intake.worker import Worker

KEYS = SiteKeys(site=b"\1" * 32, root=b"\2" * 32)
CT = "1.2.840.10008.5.1.4.1.1.2"


class Node:
    """Spool, archive and pipeline over one folder."""

    def __init__(self, folder: Path) -> None:
        self.config = NodeConfig(site="hospital-a", storage=folder)
        self.archive = Archive.open(self.config, KEYS)
        self.spool = Spool(self.config.spool, KEYS.derive("spool"))
        self.spool.take_slot()
        self.committer = GroupCommitter(self.spool, self.archive.catalogue)
        deidentifier = Deidentifier(Profile.from_config(DeidentificationConfig()), KEYS)
        self.pipeline = Pipeline(
            self.spool, self.archive, deidentifier, max_tries=3, names=StudyNames(self.config, KEYS)
        )

    def receive(self, data: bytes, uid: str, syntax: str = "1.2.840.10008.1.2.1", sop_class: str = CT) -> str:
        incoming = self.spool.begin(Origin(sop_class, uid, syntax, "PACS"))
        incoming.write(data)
        spooled = incoming.finish()
        self.committer.commit(spooled)
        return spooled.name

    def process(self) -> None:
        rows = self.archive.catalogue.claim("worker", 10)
        self.pipeline.archive([written for row in rows if (written := self.pipeline.prepare(row))])

    def reasons(self) -> list[str]:
        return [row.reason for row in self.archive.catalogue.quarantined()]


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def ct() -> Dataset:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.BodyPartExamined = "CHEST"
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """The data set alone, as C-STORE sends it."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def test_an_instance_is_archived_deidentified_and_its_raw_copy_deleted(node: Node) -> None:
    original = ct()
    name = node.receive(encoded(original), original.SOPInstanceUID)
    node.process()
    (study,) = node.archive.catalogue.studies()
    assert (study.instances, study.modalities) == (1, ("CT",))
    assert not node.spool.path(name).exists()
    assert node.archive.catalogue.counts()["spool_pending"] == 0
    for path in node.config.root.rglob("*"):
        if path.is_file():
            assert b"CompressedSamples" not in path.read_bytes()
            assert original.SOPInstanceUID.encode() not in path.read_bytes()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x08\x00\x06\x00SQ\0\0\xff\xff\xff\xffgarbage!", "unreadable"),
        (b"", "uids-missing"),
        (b"\x08\x00\x18\x00UI\x04\x001.9\x00", "uids-missing"),
        (b"\x08\x00\x16\x00UI\x04\x001.9\x00\x08\x00\x18\x00UI\x04\x001.2\x00", "uids-differ"),
    ],
)
def test_what_cannot_be_kept_is_quarantined_with_its_reason(node: Node, data: bytes, reason: str) -> None:
    name = node.receive(data, "1.2")
    node.process()
    assert node.reasons() == [reason]
    assert node.spool.path(name).exists()
    assert node.archive.catalogue.studies() == []


def test_what_deidentification_refuses_is_quarantined_with_its_reason(node: Node) -> None:
    private = ct()
    private.SOPClassUID = "1.2.840.113619.4.26"
    node.receive(encoded(private), private.SOPInstanceUID, sop_class="1.2.840.113619.4.26")
    node.process()
    assert node.reasons() == ["unknown-sop-class"]


def test_a_sealed_file_that_was_changed_is_quarantined(node: Node) -> None:
    original = ct()
    name = node.receive(encoded(original), original.SOPInstanceUID)
    content = bytearray(node.spool.path(name).read_bytes())
    content[-1] ^= 1
    node.spool.path(name).write_bytes(content)
    node.process()
    assert node.reasons() == ["spool-broken"]


def test_a_missing_file_is_told_and_can_be_sent_again(node: Node) -> None:
    original = ct()
    node.spool.delete(node.receive(encoded(original), original.SOPInstanceUID))
    node.process()
    assert node.reasons() == ["spool-gone"]
    node.receive(encoded(original), original.SOPInstanceUID)
    node.process()
    assert node.archive.catalogue.counts()["instances"] == 1


def test_an_instance_that_another_worker_finished_meanwhile_is_left_alone(node: Node) -> None:
    original = ct()
    node.receive(encoded(original), original.SOPInstanceUID)
    (row,) = node.archive.catalogue.claim("killed-node", 1)
    node.archive.catalogue.release_claims()
    node.process()
    assert node.pipeline.prepare(row) is None
    assert node.reasons() == []
    assert node.archive.catalogue.counts()["instances"] == 1
    assert node.archive.catalogue.received_digests([row.uid_digest])


def test_what_fails_each_time_is_quarantined_in_the_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ct()
    node.receive(encoded(original), original.SOPInstanceUID)

    def fails(*_: object, **__: object) -> bool:
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(Archive, "commit", fails)
    for _ in range(2):
        node.process()
        assert node.reasons() == []
    node.process()
    assert node.reasons() == ["processing-failed"]


def test_one_that_cannot_be_archived_takes_no_other_down(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned = ""
    for number in range(4):
        instance = ct()
        instance.SOPInstanceUID = f"1.2.3.{number}"
        name = node.receive(encoded(instance), instance.SOPInstanceUID)
        poisoned = name if number == 1 else poisoned
    commit = Archive.commit

    def fails_for_one(archive: Archive, batch: Sequence[Written]) -> list[Addition]:
        if any(written.new.received and written.new.received.spool_name == poisoned for written in batch):
            for written in batch:
                written.discard()
            raise RuntimeError("DOE^JANE")
        return commit(archive, batch)

    monkeypatch.setattr(Archive, "commit", fails_for_one)
    for _ in range(3):
        node.process()
    assert node.archive.catalogue.counts()["instances"] == 3
    assert node.reasons() == ["processing-failed"]
    assert [path.stem for path in node.spool.folder.glob("*.sealed")] == [poisoned]


def test_a_worker_that_is_told_to_stop_returns_what_it_has_not_begun(node: Node) -> None:
    for number in range(5):
        instance = ct()
        instance.SOPInstanceUID = f"1.2.3.{number}"
        node.receive(encoded(instance), instance.SOPInstanceUID)
    stop = threading.Event()
    prepare = node.pipeline.prepare

    def last(row: ReceivedRow) -> Written | None:
        stop.set()
        return prepare(row)

    node.pipeline.prepare = last  # type: ignore[method-assign]
    Worker(node.archive, node.pipeline, "worker", 3, stop).run()
    counts = node.archive.catalogue.counts()
    assert (counts["instances"], counts["spool_pending"]) == (1, 4)
    assert [row.tries for row in node.archive.catalogue.claim("next", 10)] == [1, 1, 1, 1]


def test_what_is_the_nodes_fault() -> None:
    assert is_trouble(OSError(errno.ENOSPC, "No space left on device"))
    assert is_trouble(OperationalError("", {}, Exception()))
    assert not is_trouble(OSError("a parser's"))
    assert not is_trouble(ValueError())


def full_disk(*_: object, **__: object) -> bool:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_costs_an_instance_no_try(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    original = ct()
    node.receive(encoded(original), original.SOPInstanceUID)
    stop = threading.Event()
    monkeypatch.setattr("client_plugin.intake.worker._TROUBLE", 0.01)
    monkeypatch.setattr("client_plugin.intake.worker._MAX_PAUSE", 0.01)
    monkeypatch.setattr(Archive, "commit", full_disk)
    thread = threading.Thread(target=Worker(node.archive, node.pipeline, "worker", 3, stop).run)
    thread.start()
    time.sleep(0.5)
    monkeypatch.undo()
    while node.archive.catalogue.counts()["instances"] == 0 and thread.is_alive():
        time.sleep(0.01)
    stop.set()
    thread.join()
    assert node.reasons() == []
    assert node.archive.catalogue.counts()["instances"] == 1


def test_a_forgotten_patient_stays_forgotten(node: Node) -> None:
    original = ct()
    node.receive(encoded(original), original.SOPInstanceUID)
    node.process()
    node.archive.forget(node.archive.catalogue.studies()[0].pseudonym)
    again = ct()
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    name = node.receive(encoded(again), "1.2.3.4.5")
    node.process()
    assert node.archive.catalogue.studies() == []
    assert node.reasons() == []
    assert not node.spool.path(name).exists()
