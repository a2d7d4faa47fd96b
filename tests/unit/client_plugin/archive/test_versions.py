"""When studies are sealed, and as what."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy import func, select

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.counts import CountDue
from client_plugin.archive.models import Completeness, StudyCount, StudyState
from client_plugin.archive.received import CatalogueReason

from .conftest import MINUTE, START
from .samples import add_instance, ct
from .test_pulls import Reason, claim, new
from .test_studies import QUIET, add, received

PATIENCE = timedelta(hours=1)
HOUR = 60 * MINUTE


def sealed(catalogue: Catalogue, now: datetime) -> list[str]:
    return [study.study_uid for study in catalogue.seal_quiet_studies(QUIET, now, PATIENCE)]


def state(catalogue: Catalogue) -> tuple[StudyState, int, int]:
    (study,) = catalogue.studies()
    return study.state, study.version, study.instances


def test_a_study_is_sealed_once_it_is_quiet(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    add(catalogue, 2, START + 3 * MINUTE)
    assert sealed(catalogue, START + 7 * MINUTE) == []
    assert sealed(catalogue, START + 8 * MINUTE) == ["2.25.1"]
    assert sealed(catalogue, START + 9 * MINUTE) == []
    assert state(catalogue) == (StudyState.SEALED, 1, 2)


def test_a_backlog_in_the_spool_stops_the_clock(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    waiting = received(catalogue, "waiting", START + MINUTE)
    assert sealed(catalogue, START + 60 * MINUTE) == []
    add_instance(catalogue, ct(2), size=1, sha256="0" * 64, received=waiting)
    assert sealed(catalogue, START + 60 * MINUTE) == ["2.25.1"]


def test_a_busy_spool_does_not_keep_an_old_study_open(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    received(catalogue, "of another study", START + 30 * MINUTE)
    assert sealed(catalogue, START + 30 * MINUTE) == ["2.25.1"]


def test_a_late_instance_makes_the_next_version_and_leaves_the_first_as_it_was(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    sealed(catalogue, START + 10 * MINUTE)
    add(catalogue, 2, START + 20 * MINUTE)
    assert state(catalogue) == (StudyState.OPEN, 2, 2)
    assert [row.sop_instance_uid for row in catalogue.series("2.25.1.1", version=1)] == ["2.25.1.1.1"]
    assert len(catalogue.series("2.25.1.1")) == 2
    sealed(catalogue, START + 30 * MINUTE)
    assert state(catalogue) == (StudyState.SEALED, 2, 2)
    assert len(catalogue.series("2.25.1.1", version=2)) == 2


def test_sealing_records_the_geometry_of_each_series(catalogue: Catalogue) -> None:
    for number in (1, 2, 4):
        add(catalogue, number, START)
    sealed(catalogue, START + 10 * MINUTE)
    geometry = catalogue.geometry("2.25.1.1")
    assert geometry is not None
    assert (geometry.slices, geometry.gaps, geometry.regular) == (3, ((5.0, 1),), False)


def add_counted(catalogue: Catalogue, number: int, at: datetime) -> None:
    """An instance of a study that a PACS can be asked about."""
    catalogue.add_patient("P1", b"wrapped")
    row = received(catalogue, f"1-{number}", at)
    add_instance(catalogue, ct(number), size=1, sha256=f"{number:064x}", received=row, target=b"sealed")


def due(catalogue: Catalogue, now: datetime) -> CountDue:
    (study,) = catalogue.counts_due(QUIET, now)
    return study


def verdict(catalogue: Catalogue, now: datetime) -> Completeness | None:
    studies = catalogue.seal_quiet_studies(QUIET, now, PATIENCE)
    return studies[0].completeness if studies else None


def test_a_study_waits_for_the_answer_of_its_pacs(catalogue: Catalogue) -> None:
    add_counted(catalogue, 1, START)
    assert catalogue.counts_due(QUIET, START + 4 * MINUTE) == []  # not quiet yet
    asked = due(catalogue, START + 6 * MINUTE)
    assert (asked.study_uid, asked.target, asked.tries) == ("2.25.1", b"sealed", 0)
    assert verdict(catalogue, START + 7 * MINUTE) is None
    catalogue.counted(asked, 1, START + 7 * MINUTE, START + 8 * MINUTE)
    assert verdict(catalogue, START + 7 * MINUTE) is Completeness.COMPLETE
    (study,) = catalogue.studies()
    assert (study.completeness, study.expected) == (Completeness.COMPLETE, 1)
    with catalogue.reading() as session:
        assert session.scalars(select(func.count(StudyCount.id))).one() == 0  # its PACS's name for it is not kept


def test_a_study_with_less_than_its_pacs_has_waits_and_is_sealed_incomplete_in_the_end(catalogue: Catalogue) -> None:
    add_counted(catalogue, 1, START)
    catalogue.counted(due(catalogue, START + QUIET), 2, START + QUIET, START + 10 * MINUTE)
    assert catalogue.counts_due(QUIET, START + 9 * MINUTE) == []
    assert due(catalogue, START + 10 * MINUTE).tries == 1  # it may have been deleted there
    assert verdict(catalogue, START + HOUR - MINUTE) is None
    assert verdict(catalogue, START + HOUR) is Completeness.INCOMPLETE
    (study,) = catalogue.studies()
    assert (study.state, study.completeness, study.expected) == (StudyState.SEALED, Completeness.INCOMPLETE, 2)


def test_what_comes_after_the_count_makes_it_count_again(catalogue: Catalogue) -> None:
    add_counted(catalogue, 1, START)
    catalogue.counted(due(catalogue, START + QUIET), 1, START + QUIET, START + HOUR)
    add_counted(catalogue, 2, START + 6 * MINUTE)
    assert verdict(catalogue, START + 12 * MINUTE) is None
    catalogue.counted(due(catalogue, START + 12 * MINUTE), 2, START + 12 * MINUTE, START + HOUR)
    assert verdict(catalogue, START + 12 * MINUTE) is Completeness.COMPLETE


def test_what_was_set_aside_has_arrived(catalogue: Catalogue) -> None:
    add_counted(catalogue, 1, START)
    row = received(catalogue, "aside", START)
    assert catalogue.quarantine(row, CatalogueReason.TOO_MANY_TRIES, "P1", "2.25.1")
    catalogue.counted(due(catalogue, START + QUIET), 2, START + QUIET, START + HOUR)
    assert verdict(catalogue, START + QUIET) is Completeness.COMPLETE


@pytest.mark.parametrize("answered", [True, False], ids=["no such study", "unreachable"])
def test_a_pacs_that_does_not_know_the_study_or_does_not_answer(catalogue: Catalogue, answered: bool) -> None:
    add_counted(catalogue, 1, START)
    asked = due(catalogue, START + QUIET)
    if answered:
        catalogue.counted(asked, None, START + QUIET, START + HOUR)
        assert verdict(catalogue, START + QUIET) is Completeness.UNKNOWN
    else:
        catalogue.not_counted(asked, START + 10 * MINUTE)
        assert verdict(catalogue, START + HOUR - MINUTE) is None
        assert verdict(catalogue, START + HOUR) is Completeness.UNKNOWN


def test_a_late_instance_has_its_version_counted_too(catalogue: Catalogue) -> None:
    add_counted(catalogue, 1, START)
    catalogue.counted(due(catalogue, START + QUIET), 1, START + QUIET, START + HOUR)
    assert verdict(catalogue, START + QUIET) is Completeness.COMPLETE
    add_counted(catalogue, 2, START + HOUR)
    catalogue.counted(due(catalogue, START + HOUR + QUIET), 3, START + HOUR + QUIET, START + 2 * HOUR)
    assert verdict(catalogue, START + 2 * HOUR) is Completeness.INCOMPLETE
    assert catalogue.studies()[0].version == 2


@pytest.mark.parametrize(("expected", "end"), [(1, Completeness.COMPLETE), (9, Completeness.INCOMPLETE)])
def test_a_pull_that_failed_leaves_its_study_open_for_long(
    catalogue: Catalogue, expected: int, end: Completeness
) -> None:
    add(catalogue, 1, START)
    catalogue.enqueue_pulls("j", [new(1, expected=expected)], START)
    catalogue.pull_failed(claim(catalogue), Reason.STALLED, START)
    assert verdict(catalogue, START + HOUR - MINUTE) is None
    assert verdict(catalogue, START + HOUR) is end


def test_a_pull_that_is_done_has_counted(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    catalogue.enqueue_pulls("j", [new(1)], START)
    catalogue.pull_done(claim(catalogue), 1, START)
    assert verdict(catalogue, START + QUIET) is Completeness.COMPLETE
