import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.received import NewReceived, Outcome
from client_plugin.intake.committer import MAX_BATCH, GroupCommitter
from client_plugin.intake.spool import Origin, Spool, Spooled


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", bytes(32))
    spool.take_slot()
    return spool


@pytest.fixture
def catalogue(tmp_path: Path) -> Catalogue:
    return Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")


def written(spool: Spool, uid: str, data: bytes = b"data") -> Spooled:
    incoming = spool.begin(Origin("1.2.840.10008.5.1.4.1.1.2", uid, "1.2.840.10008.1.2.1", "PACS"))
    incoming.write(data)
    return incoming.finish()


def test_an_instance_is_published_and_recorded(spool: Spool, catalogue: Catalogue) -> None:
    committer = GroupCommitter(spool, catalogue)
    spooled = written(spool, "1.2")
    assert committer.commit(spooled) is Outcome.STORED
    assert spool.path(spooled.name).exists()
    assert catalogue.received_digests([spooled.uid_digest]) == {spooled.uid_digest}


def test_the_same_bytes_again_leave_one_file(spool: Spool, catalogue: Catalogue) -> None:
    committer = GroupCommitter(spool, catalogue)
    first, again = written(spool, "1.2"), written(spool, "1.2")
    assert [committer.commit(first), committer.commit(again)] == [Outcome.STORED, Outcome.DUPLICATE]
    assert [*spool.folder.glob("*.sealed")] == [spool.path(first.name)]


def test_other_bytes_under_the_same_uid_are_kept_aside(spool: Spool, catalogue: Catalogue) -> None:
    committer = GroupCommitter(spool, catalogue)
    first, other = written(spool, "1.2"), written(spool, "1.2", b"other")
    assert [committer.commit(first), committer.commit(other)] == [Outcome.STORED, Outcome.CONFLICT]
    assert [(row.spool_name, row.reason) for row in catalogue.quarantined()] == [(other.name, "uid-conflict")]
    assert spool.path(other.name).exists()


class SlowLedger:
    """Holds the first batch until it is let go, and keeps the sizes of all."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.entered, self.go = threading.Event(), threading.Event()

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        self.sizes.append(len(batch))
        self.entered.set()
        assert self.go.wait(10)
        return [Outcome.STORED] * len(batch)


def test_what_arrives_during_a_commit_is_committed_together(spool: Spool) -> None:
    ledger = SlowLedger()
    committer = GroupCommitter(spool, ledger)
    instances = [written(spool, f"1.{n}") for n in range(MAX_BATCH + 2)]
    threads = [threading.Thread(target=committer.commit, args=(instance,)) for instance in instances]
    threads[0].start()
    assert ledger.entered.wait(10)
    for thread in threads[1:]:
        thread.start()
    while len(committer._waiting) < len(threads) - 1:
        threading.Event().wait(0.01)
    ledger.go.set()
    for thread in threads:
        thread.join(10)
    assert ledger.sizes == [1, MAX_BATCH, 1]


class BrokenLedger:
    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        raise OSError("disk full")


def test_a_failed_commit_is_told_to_everybody_who_waits_and_the_next_one_is_tried(spool: Spool) -> None:
    committer = GroupCommitter(spool, BrokenLedger())
    for uid in ("1.2", "1.3"):
        with pytest.raises(OSError, match="disk full"):
            committer.commit(written(spool, uid))


def test_after_a_failed_sync_nothing_more_is_promised(spool: Spool, catalogue: Catalogue, monkeypatch) -> None:
    committer = GroupCommitter(spool, catalogue)

    def broken(_: Spool) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "sync", broken)
    with pytest.raises(OSError, match="Input/output"):
        committer.commit(written(spool, "1.2"))
    monkeypatch.undo()
    with pytest.raises(OSError, match="Input/output"):
        committer.commit(written(spool, "1.3"))
