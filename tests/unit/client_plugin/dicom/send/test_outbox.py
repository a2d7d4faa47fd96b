from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from client_plugin.archive.sealing import SealBroken
from client_plugin.dicom.send.outbox import KEEP_SENT, Outbox, SendReason, SendState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox", bytes(32))


def test_what_was_put_in_is_there_after_a_restart_and_sealed(outbox: Outbox, tmp_path: Path) -> None:
    job = outbox.put(b"DICM DOE^JANE", "PACS", NOW)
    again = Outbox(tmp_path / "outbox", bytes(32))
    assert again.due(NOW) == [job]
    assert again.read(job) == b"DICM DOE^JANE"
    for path in (tmp_path / "outbox").iterdir():
        assert b"DOE" not in path.read_bytes()
        assert path.stat().st_mode & 0o077 == 0


def test_jobs_are_due_in_their_order_and_at_their_time(outbox: Outbox) -> None:
    first, second = outbox.put(b"1", "PACS", NOW), outbox.put(b"2", "PACS", NOW + MINUTE)
    assert [job.id for job in outbox.due(NOW + MINUTE)] == [first.id, second.id]
    outbox.again(first, SendReason.UNREACHABLE, NOW + 5 * MINUTE)
    assert [job.id for job in outbox.due(NOW + MINUTE)] == [second.id]
    (waiting,) = [job for job in outbox.due(NOW + 5 * MINUTE) if job.id == first.id]
    assert (waiting.tries, waiting.reason) == (1, SendReason.UNREACHABLE)


def test_a_sent_instance_leaves_its_job_for_a_while(outbox: Outbox, tmp_path: Path) -> None:
    outbox.sent(outbox.put(b"1", "PACS", NOW), NOW)
    assert [job.state for job in outbox.jobs()] == [SendState.SENT]
    assert not [*(tmp_path / "outbox").glob("*.sealed")]
    outbox.tidy(NOW + KEEP_SENT)
    assert len(outbox.jobs()) == 1
    outbox.tidy(NOW + KEEP_SENT + MINUTE)
    assert outbox.jobs() == []


def test_a_failed_one_is_kept_until_somebody_decides(outbox: Outbox) -> None:
    outbox.failed(outbox.put(b"1", "PACS", NOW), SendReason.REFUSED, NOW)
    (job,) = outbox.jobs()
    assert (job.state, job.reason, outbox.due(NOW)) == (SendState.FAILED, SendReason.REFUSED, [])
    outbox.retry(job, NOW)
    assert [(due.tries, outbox.read(due)) for due in outbox.due(NOW)] == [(0, b"1")]
    outbox.drop(job)
    assert outbox.jobs() == []


def test_a_changed_file_is_noticed(outbox: Outbox, tmp_path: Path) -> None:
    first, second = outbox.put(b"1", "PACS", NOW), outbox.put(b"2", "PACS", NOW)
    folder = tmp_path / "outbox"
    (folder / f"{first.id}.sealed").rename(folder / f"{second.id}.sealed")
    with pytest.raises(SealBroken):
        outbox.read(second)
