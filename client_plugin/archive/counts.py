"""How many instances open studies have at their PACS: who is to be asked about, and what the answer was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import or_, select, update

from client_plugin.archive.database import Database
from client_plugin.archive.models import Study, StudyCount, StudyState


@dataclass(frozen=True)
class CountDue:
    """A quiet study whose PACS is to be asked.

    Parameters
    ----------
    study_uid
        What it is called here.
    target
        What its PACS calls it, sealed (`client_plugin.intake.study_names`).
    tries
        How often it was asked about.
    """

    id: int
    study_uid: str
    target: bytes
    tries: int


class StudyCounts(Database):
    """The counts that sealing waits for."""

    def counts_due(self, quiet: timedelta, now: datetime, limit: int = 20) -> list[CountDue]:
        """Open studies without news for ``quiet`` whose count is not known, is older than them, or was tried before."""
        query = (
            select(StudyCount.id, Study.uid, StudyCount.target, StudyCount.tries)
            .join(Study, Study.id == StudyCount.study_id)
            .where(Study.state == StudyState.OPEN, Study.last_received <= now - quiet)
            .where(or_(StudyCount.next_ask_at <= now, StudyCount.asked_at < Study.last_received))
            .order_by(StudyCount.next_ask_at)
            .limit(limit)
        )
        with self.reading() as session:
            return [CountDue(row.id, row.uid, row.target, row.tries) for row in session.execute(query)]

    def counted(self, due: CountDue, expected: int | None, now: datetime, again: datetime) -> None:
        """The PACS has so many instances of the study; None: it does not know the study. Ask ``again``, if need be."""
        self._asked(due, expected=expected, asked_at=now, next_ask_at=again)

    def not_counted(self, due: CountDue, again: datetime) -> None:
        """The PACS could not be asked."""
        self._asked(due, next_ask_at=again)

    def _asked(self, due: CountDue, **values: object) -> None:
        with self.writing() as session:
            change = update(StudyCount).where(StudyCount.id == due.id)
            session.execute(change.values(tries=due.tries + 1, **values))
