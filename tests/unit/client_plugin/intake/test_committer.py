import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.received import NewReceived, Outcome
from client_plugin.intake.committer import MAX_BATCH, CommitStuck, GroupCommitter
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


class ForgetfulLedger:
    """Says less than it was asked."""

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        return []


class HangingLedger:
    """A disk that never answers."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        self.entered.set()
        self.go.wait(30)
        return [Outcome.STORED] * len(batch)


class EndingLedger:
    """The process is being ended in the middle of a commit."""

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        raise SystemExit


@pytest.mark.parametrize("ledger", [ForgetfulLedger(), EndingLedger()], ids=lambda ledger: type(ledger).__name__)
def test_whatever_a_commit_raises_nobody_waits_for_ever(spool: Spool, ledger) -> None:
    committer = GroupCommitter(spool, ledger)
    for uid in ("1.2", "1.3"):
        with pytest.raises((ValueError, SystemExit)):
            committer.commit(written(spool, uid))


def test_a_commit_that_hangs_is_answered_with_a_failure_in_time(spool: Spool) -> None:
    ledger = HangingLedger()
    committer = GroupCommitter(spool, ledger, patience=0.2)
    first = threading.Thread(target=committer.commit, args=(written(spool, "1.2"),))
    first.start()
    assert ledger.entered.wait(10)
    late = written(spool, "1.3")
    with pytest.raises(CommitStuck):
        committer.commit(late)
    ledger.go.set()
    first.join(10)
    assert committer.commit(written(spool, "1.4")) is Outcome.STORED  # and takes the one that gave up along
    assert spool.path(late.name).exists()


def test_a_file_that_cannot_be_published_fails_its_own_batch_only(spool: Spool, catalogue: Catalogue) -> None:
    committer = GroupCommitter(spool, catalogue)
    committer.commit(written(spool, "1.2"))
    again = written(spool, "1.2")
    (spool.folder / f"{again.name}.sealed").mkdir()  # neither overwritten by the rename nor unlinked
    with pytest.raises(OSError):  # noqa: PT011
        committer.commit(again)
    assert committer.commit(written(spool, "1.3")) is Outcome.STORED


def test_after_a_failed_sync_nothing_more_is_promised(spool: Spool, catalogue: Catalogue, monkeypatch) -> None:
    committer = GroupCommitter(spool, catalogue)

    def broken(_: Spool) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Spool, "sync", broken)
    with pytest.raises(OSError, match="Input/output"):
        committer.commit(written(spool, "1.2"))
    monkeypatch.undo()
    with pytest.raises(OSError, match="nothing more is promised"):
        committer.commit(written(spool, "1.3"))
    assert committer.broken.is_set()
