import multiprocessing
from datetime import datetime, timedelta
from enum import StrEnum

import pytest
from sqlalchemy import event

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.received import CatalogueReason, NewReceived, Outcome

from .conftest import MINUTE, START
from .samples import CT, EXPLICIT_LE, add_instance, ct


class Reason(StrEnum):
    BROKEN = "unparsable"


class Sentence(StrEnum):
    LEAK = "Doe^John could not be parsed"


def new(number: int, *, content: str = "c", copy: int = 0) -> NewReceived:
    return NewReceived(
        spool_name=f"spool-{number}-{copy}",
        uid_digest=f"uid-{number}",
        content_digest=f"{content}-{number}",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        size=530_000,
        source_ae="PACS",
        received_at=START + number * MINUTE,
    )


def test_a_batch_is_recorded_in_its_order(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    outcomes = catalogue.record_received([new(3), new(1, copy=1), new(2), new(1, copy=2, content="other")])
    assert outcomes == [Outcome.STORED, Outcome.DUPLICATE, Outcome.STORED, Outcome.CONFLICT]
    assert [row.spool_name for row in catalogue.claim("w", 9)] == ["spool-1-0", "spool-2-0", "spool-3-0"]
    assert [(q.spool_name, q.reason) for q in catalogue.quarantined()] == [("spool-1-2", "uid-conflict")]


def test_the_same_instance_twice_in_one_batch(catalogue: Catalogue) -> None:
    batch = [new(1), new(1, copy=1), new(1, copy=2, content="other")]
    assert catalogue.record_received(batch) == [Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT]


def test_an_empty_batch_is_no_transaction(catalogue: Catalogue) -> None:
    assert catalogue.record_received([]) == []


def test_workers_never_get_the_same_row(catalogue: Catalogue) -> None:
    catalogue.record_received([new(n) for n in range(10)])
    claims = [catalogue.claim(f"worker-{n}", 3) for n in range(5)]
    names = [row.spool_name for claim in claims for row in claim]
    assert [len(claim) for claim in claims] == [3, 3, 3, 1, 0]
    assert len(set(names)) == 10


def test_a_stale_claim_is_taken_over(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    catalogue.claim("gone", 1)
    assert catalogue.claim("next", 1) == []
    (row,) = catalogue.claim("next", 1, lease=timedelta(0))
    assert row.tries == 2


def test_an_instance_that_kills_its_worker_takes_no_other_down_and_ends_in_quarantine(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1), new(2)])
    assert len(catalogue.claim("w1", 5)) == 2
    assert catalogue.release_claims("w1") == 2  # it died
    (poison,) = catalogue.claim("w2", 5)  # alone
    assert (poison.spool_name, poison.tries) == ("spool-1-0", 2)
    catalogue.release_claims("w2")
    catalogue.claim("w3", 5)
    catalogue.release_claims("w3")
    (innocent,) = catalogue.claim("w4", 5)
    assert innocent.spool_name == "spool-2-0"
    assert [q.reason for q in catalogue.quarantined()] == [CatalogueReason.TOO_MANY_TRIES]


def test_a_batch_behind_instances_that_killed_their_workers_is_found(catalogue: Catalogue) -> None:
    catalogue.record_received([new(n) for n in range(5)])
    for _ in range(3):
        for n in range(3):  # each alone, again and again
            catalogue.claim(f"w{n}", 1)
        for n in range(3):
            catalogue.release_claims(f"w{n}")
    assert [row.spool_name for row in catalogue.claim("w", 2)] == ["spool-3-0", "spool-4-0"]
    assert {q.spool_name for q in catalogue.quarantined()} == {"spool-0-0", "spool-1-0", "spool-2-0"}


def test_a_claim_does_not_look_at_the_whole_backlog(catalogue: Catalogue) -> None:
    seen: list[tuple[str, object]] = []

    @event.listens_for(catalogue._engine, "before_cursor_execute")
    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        seen.append((statement, parameters))

    catalogue.record_received([new(n) for n in range(3)])
    seen.clear()
    assert len(catalogue.claim("w", 2)) == 2
    if catalogue.dialect != "sqlite":  # its planner goes by the size of the table
        return
    questions = [(statement, parameters) for statement, parameters in seen if statement.startswith("SELECT")]
    assert len(questions) == 2
    with catalogue._engine.connect() as connection:
        for statement, parameters in questions:
            explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
            assert ["ix_received_queue" in row.detail for row in explained] == [True], explained  # and no sorting


def test_a_crash_of_the_node_counts_against_no_instance(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    for _ in range(10):
        assert catalogue.claim("w", 1)[0].tries == 1
        assert catalogue.release_claims() == 1


def test_failures_are_retried_then_quarantined_under_their_reason(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    for last in (False, False, True):
        (row,) = catalogue.claim("w", 1)
        assert catalogue.fail(row, Reason.BROKEN) is last
    assert catalogue.claim("w", 1) == []
    (aside,) = catalogue.quarantined()
    assert (aside.spool_name, aside.reason, aside.source_ae) == ("spool-1-0", "unparsable", "PACS")


def test_what_was_released_from_quarantine_is_tried_anew(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    catalogue.quarantine(catalogue.claim("w", 1)[0], Reason.BROKEN)
    assert catalogue.release_quarantined(catalogue.quarantined()[0].id)
    assert catalogue.quarantined() == []
    assert catalogue.claim("w", 1)[0].tries == 1


def test_what_never_was_in_the_queue_cannot_be_released_into_it(catalogue: Catalogue) -> None:
    catalogue.record_quarantined(new(1), Reason.BROKEN)
    (aside,) = catalogue.quarantined()
    assert not catalogue.release_quarantined(aside.id)
    assert catalogue.quarantined() == [aside]


def test_a_dropped_copy_may_be_sent_again(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    catalogue.quarantine(catalogue.claim("w", 1)[0], Reason.BROKEN)
    catalogue.drop_quarantined(["spool-1-0"])
    assert catalogue.record_received([new(1, copy=1)]) == [Outcome.STORED]


def test_a_reason_is_a_name_and_never_a_sentence(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    (row,) = catalogue.claim("w", 1)
    for reason in (Sentence.LEAK, "unparsable"):
        with pytest.raises(TypeError, match="closed set"):
            catalogue.quarantine(row, reason)  # type: ignore[arg-type]


def test_finished_rows_still_answer_storage_commitment_and_duplicates(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    (row,) = catalogue.claim("w", 1)
    catalogue.add_patient("P1", b"wrapped")
    add_instance(catalogue, ct(), size=1, sha256="0" * 64, received=row)
    assert catalogue.received_digests(["uid-1", "uid-2"]) == {"uid-1"}
    assert catalogue.record_received([new(1, copy=1)]) == [Outcome.DUPLICATE]
    assert catalogue.backlog() == (0, None)


def test_a_row_is_finished_whose_instance_was_archived_before(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    (row,) = catalogue.claim("w", 1)
    catalogue.add_patient("P1", b"wrapped")
    assert add_instance(catalogue, ct(), size=1, sha256="0" * 64)
    assert not add_instance(catalogue, ct(), size=1, sha256="0" * 64, received=row)
    assert catalogue.backlog() == (0, None)


def test_the_backlog_says_since_when_the_oldest_waits(catalogue: Catalogue) -> None:
    catalogue.record_received([new(3), new(1)])
    assert catalogue.backlog() == (2, START + MINUTE)


def _listener(url: str, first: int, outcomes: "multiprocessing.Queue[list[str]]") -> None:
    catalogue = Catalogue.open(url)
    got: list[str] = []
    for number in range(first, first + 60, 6):  # the two overlap by half
        batch = [new(n, copy=first, content="same") for n in range(number, number + 6)]
        got += catalogue.record_received(batch if first else batch[::-1])
    outcomes.put(got)


def test_two_listeners_with_the_same_instances_store_each_once(url: str) -> None:
    Catalogue.open(url).close()
    context = multiprocessing.get_context("spawn")
    outcomes: multiprocessing.Queue[list[str]] = context.Queue()
    listeners = [context.Process(target=_listener, args=(url, first, outcomes)) for first in (0, 30)]
    for listener in listeners:
        listener.start()
    got = [outcome for _ in listeners for outcome in outcomes.get(timeout=60)]
    for listener in listeners:
        listener.join()
        assert listener.exitcode == 0
    assert (got.count("stored"), got.count("duplicate"), len(got)) == (90, 30, 120)


def test_times_without_a_zone_are_refused(catalogue: Catalogue) -> None:
    naive = NewReceived(**{**new(1).__dict__, "received_at": datetime(2026, 1, 1)})  # noqa: DTZ001
    with pytest.raises(Exception, match="time zone"):
        catalogue.record_received([naive])


def test_the_spool_may_delete_what_nobody_waits_for(catalogue: Catalogue) -> None:
    catalogue.record_received([new(n) for n in range(3)])
    catalogue.record_quarantined(new(7), Reason.BROKEN)
    done, aside, _ = catalogue.claim("w", 3)
    catalogue.add_patient("P1", b"wrapped")
    add_instance(catalogue, ct(), size=1, sha256="0" * 64, received=done)
    catalogue.quarantine(aside, Reason.BROKEN)
    names = ["spool-0-0", "spool-1-0", "spool-2-0", "spool-7-0", "never-acknowledged"]
    assert catalogue.spool_names_in_use(names) == {"spool-1-0", "spool-2-0", "spool-7-0"}


def test_a_postponed_row_has_lost_no_try(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    for _ in range(10):
        (row,) = catalogue.claim("w", 1)
        assert row.tries == 1
        catalogue.postpone([row], "another")  # who took it over when its lease was over
        assert catalogue.claim("w", 1) == []
        catalogue.postpone([row], "w")


def test_a_discarded_row_was_never_here(catalogue: Catalogue) -> None:
    catalogue.record_received([new(1)])
    catalogue.discard(catalogue.claim("w", 1)[0])
    assert catalogue.received_digests(["uid-1"]) == set()
    assert catalogue.record_received([new(1, copy=1)]) == [Outcome.STORED]
