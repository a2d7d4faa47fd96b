"""The job table of the puller: which studies are to be had from a PACS, and how that goes.

The table outlives the process that works on it: one at a time does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import func, select, update

from client_plugin.archive.database import Database
from client_plugin.archive.models import Pull, PullState
from client_plugin.archive.received import reason_name


@dataclass(frozen=True, kw_only=True)
class NewPull:
    """A study found at a source.

    Parameters
    ----------
    study_digest
        Keyed digest of the original Study Instance UID.
    study_uid
        What the study will be called here.
    target
        What the source calls it, sealed.
    source
        AE title of the configured peer.
    expected
        Number of instances, if the source told.
    """

    study_digest: str
    study_uid: str
    target: bytes
    source: str
    expected: int | None


@dataclass(frozen=True, kw_only=True)
class PullRow(NewPull):
    """A pull that was claimed; ``tries`` counts this one."""

    id: int
    tries: int


@dataclass(frozen=True)
class Enqueued:
    """What became of the studies found: *new*; to be pulled *again*, since it failed before or has grown at the
    source; *waiting* already; or *done* before and unchanged."""

    new: int
    again: int
    waiting: int
    done: int


@dataclass(frozen=True)
class PullSummary:
    """A line of ``fedpacs pulls``."""

    job: str
    study_uid: str
    source: str
    state: PullState
    tries: int
    here: int
    expected: int | None
    reason: str | None
    next_try_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class Pulls(Database):
    """The puller's side of the catalogue."""

    def enqueue_pulls(self, job: str, found: Iterable[NewPull], now: datetime) -> Enqueued:
        """Put studies into the queue; one that is there is not put there twice."""
        became = {"new": 0, "again": 0, "waiting": 0, "done": 0}
        fresh = {"job": job, "state": PullState.WAITING, "tries": 0, "created_at": now, "next_try_at": now}
        with self.writing() as session:
            for pull in found:
                insert = self.insert_new(Pull).returning(Pull.id)
                if session.scalars(insert, [{**_values(pull), **fresh, "here": 0}]).one_or_none() is not None:
                    became["new"] += 1
                    continue
                row = session.scalars(
                    select(Pull).where(Pull.study_digest == pull.study_digest).with_for_update()
                ).one()
                fate = _fate(PullState(row.state), row.expected, pull.expected)
                became[fate] += 1
                if fate == "again":
                    for name, value in {**_values(pull), **fresh, "reason": None, "finished_at": None}.items():
                        setattr(row, name, value)
        return Enqueued(**became)

    def resume_pulls(self) -> int:
        """Put back what a puller that died left running, its try uncounted; returns how many.

        Call it once, when the puller starts.
        """
        left = update(Pull).where(Pull.state == PullState.RUNNING)
        with self.writing() as session:
            back = left.values(state=PullState.WAITING, tries=Pull.tries - 1).returning(Pull.id)
            return len(session.scalars(back, execution_options={"synchronize_session": False}).all())

    def claim_pull(self, now: datetime) -> PullRow | None:
        """The next study to pull, if one is due."""
        due = select(Pull).where(Pull.state == PullState.WAITING, Pull.next_try_at <= now)
        first = due.order_by(Pull.next_try_at, Pull.id).limit(1).with_for_update(skip_locked=True)
        with self.writing() as session:
            row = session.scalars(first).one_or_none()
            if row is None:
                return None
            row.state, row.started_at, row.tries = PullState.RUNNING, now, row.tries + 1
            if row.target is None:
                raise RuntimeError("a pull that is not final has lost its target")
            return PullRow(
                id=row.id,
                tries=row.tries,
                study_digest=row.study_digest,
                study_uid=row.study_uid,
                target=row.target,
                source=row.source,
                expected=row.expected,
            )

    def pull_progress(self, row: PullRow, here: int, expected: int) -> None:
        """So many instances of the study are here, of so many."""
        with self.writing() as session:
            session.execute(update(Pull).where(Pull.id == row.id).values(here=here, expected=expected))

    def pull_done(self, row: PullRow, here: int, now: datetime) -> None:
        """Everything is here. What the source calls the study is no longer needed, and deleted."""
        self._end(row, state=PullState.DONE, here=here, expected=here, reason=None, finished_at=now, target=None)

    def pull_failed(self, row: PullRow, reason: StrEnum, now: datetime) -> None:
        """It cannot be had."""
        self._end(row, state=PullState.FAILED, reason=reason_name(reason), finished_at=now, target=None)

    def pull_again(self, row: PullRow, reason: StrEnum, at: datetime, *, counted: bool = True) -> None:
        """It could not be had this time; try again at ``at``. ``counted`` False gives the try back."""
        tries = row.tries if counted else row.tries - 1
        self._end(row, state=PullState.WAITING, reason=reason_name(reason), next_try_at=at, tries=tries)

    def _end(self, row: PullRow, **values: object) -> None:
        with self.writing() as session:
            session.execute(update(Pull).where(Pull.id == row.id).values(**values))

    def pulls(self, job: str | None = None) -> list[PullSummary]:
        """All pulls, or those of a job, in the order they were found."""
        query = select(Pull).order_by(Pull.id)
        if job is not None:
            query = query.where(Pull.job == job)
        with self.reading() as session:
            return [
                PullSummary(
                    job=row.job,
                    study_uid=row.study_uid,
                    source=row.source,
                    state=PullState(row.state),
                    tries=row.tries,
                    here=row.here,
                    expected=row.expected,
                    reason=row.reason,
                    next_try_at=row.next_try_at,
                    started_at=row.started_at,
                    finished_at=row.finished_at,
                )
                for row in session.scalars(query)
            ]

    def last_pull_started(self) -> tuple[datetime | None, int | None]:
        """When the latest try began, whoever made it, and how many instances its study has: what rate limits count."""
        latest = select(Pull.started_at, Pull.expected).where(Pull.started_at.is_not(None))
        with self.reading() as session:
            row = session.execute(latest.order_by(Pull.started_at.desc(), Pull.id.desc()).limit(1)).one_or_none()
            return (row.started_at, row.expected) if row else (None, None)

    def cancel_pulls(self, job: str, reason: StrEnum, now: datetime) -> int:
        """Give up what waits of a job; returns how many studies. What is running comes to its end."""
        waiting = update(Pull).where(Pull.job == job, Pull.state == PullState.WAITING)
        final = {"state": PullState.FAILED, "reason": reason_name(reason), "finished_at": now, "target": None}
        with self.writing() as session:
            given_up = waiting.values(final).returning(Pull.id)
            return len(session.scalars(given_up, execution_options={"synchronize_session": False}).all())

    def next_pull_at(self) -> datetime | None:
        """When the next waiting pull is due; None if none waits."""
        with self.reading() as session:
            return session.scalars(select(func.min(Pull.next_try_at)).where(Pull.state == PullState.WAITING)).one()


def _fate(state: PullState, known: int | None, found: int | None) -> str:
    """What to do about a study that is in the table already."""
    if state in (PullState.WAITING, PullState.RUNNING):
        return "waiting"
    return "done" if state is PullState.DONE and found in (None, known) else "again"


def _values(pull: NewPull) -> dict[str, object]:
    return {
        "study_digest": pull.study_digest,
        "study_uid": pull.study_uid,
        "target": pull.target,
        "source": pull.source,
        "expected": pull.expected,
    }
