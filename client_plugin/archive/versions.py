"""Sealing: a study that is quiet, and whole as far as its PACS tells, becomes an immutable version."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session, selectinload

from client_plugin.archive.completeness import judge
from client_plugin.archive.database import Database
from client_plugin.archive.geometry import describe_stack
from client_plugin.archive.models import (
    Completeness,
    Instance,
    Pull,
    PullState,
    Quarantine,
    Series,
    Study,
    StudyCount,
    StudyState,
    StudyVersion,
)
from client_plugin.archive.received import waiting

PATIENCE = timedelta(hours=1)


@dataclass(frozen=True)
class SealedStudy:
    """A version that was just sealed; ``here`` counts what was set aside too, ``expected`` is what the PACS has."""

    study_uid: str
    version: int
    here: int
    expected: int | None
    completeness: Completeness


class Versions(Database):
    """What may be trained on."""

    def seal_quiet_studies(self, quiet: timedelta, now: datetime, patience: timedelta = PATIENCE) -> list[SealedStudy]:
        """Seal the open studies that nothing was received for since ``quiet`` and that are whole.

        What waits in the spool may belong to any study, so the clock stops at the oldest instance there. A study that
        is being pulled is open until the pull has ended. One whose PACS counts more instances than came, or could not
        be asked, or whose pull failed, is sealed as it is after ``patience``, and is called incomplete or unknown.
        """
        with self.writing() as session:
            _, oldest = waiting(session)
            horizon = min(now, oldest) if oldest else now
            verdicts = {}
            for row in session.execute(_candidates(horizon - quiet)):
                verdict = _verdict(session, row, waited=horizon - row.last_received, patience=patience)
                if verdict is not None:
                    verdicts[row.id] = verdict
            chosen = select(Study).where(Study.id.in_(verdicts)).order_by(Study.id).with_for_update()
            studies = session.scalars(chosen.options(selectinload(Study.series).selectinload(Series.instances))).all()
            for study in studies:
                _seal(study, verdicts[study.id], now)
            session.execute(delete(StudyCount).where(StudyCount.study_id.in_(verdicts)))
            return [verdicts[study.id] for study in studies]


def _candidates(last: datetime) -> Select[*tuple[Any, ...]]:
    """Open studies without news since ``last`` that are not being pulled, with what is known of their counts."""
    being_pulled = select(Pull.study_uid).where(Pull.state.in_((PullState.WAITING, PullState.RUNNING)))
    return (
        select(
            Study.id,
            Study.uid,
            Study.version,
            Study.last_received,
            StudyCount.id.label("count_id"),
            StudyCount.expected,
            StudyCount.asked_at,
            Pull.state.label("pull_state"),
            Pull.expected.label("pull_expected"),
        )
        .outerjoin(StudyCount, StudyCount.study_id == Study.id)
        .outerjoin(Pull, Pull.study_uid == Study.uid)
        .where(Study.state == StudyState.OPEN, Study.last_received <= last, Study.uid.not_in(being_pulled))
    )


def _verdict(session: Session, row: Any, *, waited: timedelta, patience: timedelta) -> SealedStudy | None:
    """What to call a candidate, or None while it has to wait."""
    if row.count_id is not None:
        pending = row.asked_at is None or row.asked_at < row.last_received
        expected = row.expected if row.expected is not None else row.pull_expected
    else:
        pending, expected = row.pull_state == PullState.FAILED, row.pull_expected
    here = _here(session, row.id, row.uid)
    verdict = judge(here, expected, pending=pending, waited=waited, patience=patience)
    return None if verdict is None else SealedStudy(row.uid, row.version, here, expected, verdict)


def _here(session: Session, study_id: int, study_uid: str) -> int:
    archived = select(func.count(Instance.id)).join(Instance.series).where(Series.study_id == study_id)
    set_aside = select(func.count(Quarantine.id)).where(Quarantine.study_uid == study_uid)
    return session.scalars(archived).one() + session.scalars(set_aside).one()


def content_digest(instances: Iterable[tuple[str, str]]) -> str:
    """SHA-256 over the (UID, sha256) pairs of a study version, in the order of UIDs."""
    digest = hashlib.sha256()
    for uid, sha256 in sorted(instances):
        digest.update(f"{uid} {sha256}\n".encode())
    return digest.hexdigest()


def _seal(study: Study, verdict: SealedStudy, now: datetime) -> None:
    instances = [instance for series in study.series for instance in series.instances]
    for series in study.series:
        series.geometry = describe_stack(series.instances).to_json()  # type: ignore[arg-type]
    study.state = StudyState.SEALED
    study.versions.append(
        StudyVersion(
            number=study.version,
            sealed_at=now,
            instances=len(instances),
            digest=content_digest((i.uid, i.sha256) for i in instances),
            expected=verdict.expected,
            completeness=verdict.completeness,
        )
    )
