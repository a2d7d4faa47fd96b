from datetime import timedelta
from enum import StrEnum

import pytest
from sqlalchemy import select

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.models import Pull, PullState
from client_plugin.archive.pulls import Enqueued, NewPull, PullRow

from .conftest import MINUTE, START
from .samples import catalogued, ct


class Reason(StrEnum):
    STALLED = "stalled"


def new(number: int, expected: int | None = 10) -> NewPull:
    return NewPull(
        study_digest=f"digest-{number}",
        study_uid=f"2.25.{number}",
        target=f"sealed {number}".encode(),
        source="PACS",
        expected=expected,
    )


def claim(catalogue: Catalogue, at: int = 0) -> PullRow:
    row = catalogue.claim_pull(START + at * MINUTE)
    assert row is not None
    return row


def states(catalogue: Catalogue) -> list[str]:
    return [pull.state for pull in catalogue.pulls()]


def test_studies_are_pulled_in_the_order_they_were_found(catalogue: Catalogue) -> None:
    assert catalogue.enqueue_pulls("j1", [new(2), new(1)], START) == Enqueued(new=2, again=0, waiting=0, done=0)
    assert [claim(catalogue).study_uid, claim(catalogue).study_uid] == ["2.25.2", "2.25.1"]
    assert catalogue.claim_pull(START) is None


def test_a_study_is_not_put_there_twice(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j1", [new(1), new(2), new(3), new(4)], START)
    done, grown, failed = claim(catalogue), claim(catalogue), claim(catalogue)
    for row in (done, grown):
        catalogue.pull_done(row, 10, START)
    catalogue.pull_failed(failed, Reason.STALLED, START)
    found = [new(1), new(2, expected=11), new(3), new(4), new(5)]
    assert catalogue.enqueue_pulls("j2", found, START) == Enqueued(new=1, again=2, waiting=1, done=1)
    assert [(p.study_uid, p.tries) for p in catalogue.pulls("j2")] == [("2.25.2", 0), ("2.25.3", 0), ("2.25.5", 0)]
    assert claim(catalogue).target == b"sealed 2"


def test_a_source_that_does_not_count_pulls_a_study_once(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1, expected=None)], START)
    catalogue.pull_done(claim(catalogue), 10, START)
    assert catalogue.enqueue_pulls("j", [new(1, expected=None)], START).done == 1


def test_another_try_waits_for_its_time(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1)], START)
    catalogue.pull_again(claim(catalogue), Reason.STALLED, START + 5 * MINUTE)
    assert catalogue.claim_pull(START + 4 * MINUTE) is None
    assert catalogue.next_pull_at() == START + 5 * MINUTE
    (waiting,) = catalogue.pulls()
    assert (waiting.state, waiting.reason) == (PullState.WAITING, "stalled")
    assert claim(catalogue, at=5).tries == 2


def test_a_try_that_was_cut_short_from_outside_does_not_count(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1)], START)
    catalogue.pull_again(claim(catalogue), Reason.STALLED, START, counted=False)
    assert claim(catalogue).tries == 1


def test_what_a_dead_puller_left_is_taken_up_again(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1)], START)
    catalogue.pull_progress(claim(catalogue), 3, 12)
    assert catalogue.claim_pull(START + 60 * MINUTE) is None
    assert catalogue.resume_pulls() == 1
    assert claim(catalogue).tries == 1  # a crash of ours is not the study's fault
    (running,) = catalogue.pulls()
    assert (running.here, running.expected) == (3, 12)


def test_what_the_source_calls_a_study_is_deleted_once_it_is_over(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1), new(2)], START)
    catalogue.pull_done(claim(catalogue), 10, START)
    catalogue.pull_failed(claim(catalogue), Reason.STALLED, START)
    assert states(catalogue) == ["done", "failed"]
    with catalogue.reading() as session:
        assert session.scalars(select(Pull.target)).all() == [None, None]


def test_the_latest_start_is_what_a_rate_counts_from(catalogue: Catalogue) -> None:
    assert catalogue.last_pull_started() == (None, None)
    catalogue.enqueue_pulls("j", [new(1), new(2, expected=25)], START)
    claim(catalogue, at=1)
    claim(catalogue, at=7)
    assert catalogue.last_pull_started() == (START + 7 * MINUTE, 25)


def test_what_waits_of_a_job_can_be_given_up(catalogue: Catalogue) -> None:
    catalogue.enqueue_pulls("j", [new(1), new(2)], START)
    catalogue.enqueue_pulls("other", [new(3)], START)
    running = claim(catalogue)
    assert catalogue.cancel_pulls("j", Reason.STALLED, START) == 1
    assert states(catalogue) == ["running", "failed", "waiting"]
    catalogue.pull_done(running, 10, START)
    assert states(catalogue) == ["done", "failed", "waiting"]
    with catalogue.reading() as session:  # what the PACS calls it is not kept
        assert session.scalars(select(Pull.target).where(Pull.study_uid == "2.25.2")).one() is None


@pytest.mark.parametrize("end", ["done", "failed"])
def test_a_study_is_open_until_its_pull_is_over(catalogue: Catalogue, end: str) -> None:
    catalogued(catalogue, ct(1))
    catalogue.enqueue_pulls("j", [new(1)], START)
    later = START + timedelta(days=10_000)
    assert catalogue.seal_quiet_studies(MINUTE, later) == []
    row = claim(catalogue)
    assert catalogue.seal_quiet_studies(MINUTE, later) == []
    if end == "done":
        catalogue.pull_done(row, 10, START)
    else:
        catalogue.pull_failed(row, Reason.STALLED, START)
    assert [study.study_uid for study in catalogue.seal_quiet_studies(MINUTE, later)] == ["2.25.1"]


def test_forgetting_a_patient_forgets_their_pulls(catalogue: Catalogue) -> None:
    catalogued(catalogue, ct(1))
    catalogue.enqueue_pulls("j", [new(1), new(2)], START)
    catalogue.forget_rows("P1")
    assert [pull.study_uid for pull in catalogue.pulls()] == ["2.25.2"]
