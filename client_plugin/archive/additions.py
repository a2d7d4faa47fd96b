"""Entering archived objects into the catalogue: many in one transaction, each with an outcome of its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, insert, select, update

from client_plugin.archive.database import Database
from client_plugin.archive.instance import ArchivedInstance, NotArchivable
from client_plugin.archive.models import (
    Instance,
    Label,
    Patient,
    Received,
    ReceivedState,
    Reference,
    Series,
    Study,
    StudyCount,
    StudyState,
)
from client_plugin.archive.patients import PatientForgotten
from client_plugin.archive.received import ReceivedRow


@dataclass(frozen=True, kw_only=True)
class NewInstance:
    """An object whose file is durable.

    Parameters
    ----------
    size, sha256
        Of the de-identified DICOM file: bytes, hexadecimal digest.
    received
        The row of the spool that it came from: finished in the same transaction.
    target
        What its PACS calls the study, sealed: it will be asked how many instances there are. None: it will not.
    """

    meta: ArchivedInstance
    size: int
    sha256: str
    received: ReceivedRow | None = None
    target: bytes | None = None


class Addition(StrEnum):
    """What became of an object. Refused ones have changed nothing: delete their files."""

    NEW = "new"
    KNOWN = "known"
    """Catalogued before; only the row of the spool was finished."""
    FORGOTTEN = "forgotten"
    """Its patient's key is gone."""
    OTHER_PATIENT = "other-patient"
    """Its study is archived under another patient."""
    OTHER_STUDY = "other-study"
    """Its series is archived in another study."""

    @property
    def refused(self) -> bool:
        return self not in (Addition.NEW, Addition.KNOWN)

    def check(self) -> bool:
        """Whether it is new; raises `PatientForgotten` or `NotArchivable` for what was refused."""
        if self is Addition.FORGOTTEN:
            raise PatientForgotten("the patient's key is gone: discard the instance")
        if self is Addition.OTHER_PATIENT:
            raise NotArchivable("its study is archived under another patient")
        if self is Addition.OTHER_STUDY:
            raise NotArchivable("its series is archived in another study")
        return self is Addition.NEW


@dataclass
class Known:
    """What the catalogue knows of a batch: patients by pseudonym, the others by UID."""

    patients: dict[str, int]
    instances: dict[str, int]
    studies: dict[str, KnownStudy]
    series: dict[str, tuple[int, str]]
    """Id, and UID of the study."""


@dataclass(frozen=True)
class KnownStudy:
    id: int
    pseudonym: str
    state: str
    version: int
    last_received: datetime


def decide(metas: Sequence[ArchivedInstance], known: Known) -> list[Addition]:
    """What becomes of each of a batch. An earlier one of it counts as known to a later one."""
    instances = set(known.instances)
    owner = {uid: study.pseudonym for uid, study in known.studies.items()}
    within = {uid: study for uid, (_, study) in known.series.items()}
    outcomes = []
    for meta in metas:
        if meta.sop_instance_uid in instances:
            outcome = Addition.KNOWN
        elif meta.pseudonym not in known.patients:
            outcome = Addition.FORGOTTEN
        elif owner.get(meta.study_uid, meta.pseudonym) != meta.pseudonym:
            outcome = Addition.OTHER_PATIENT
        elif within.get(meta.series_uid, meta.study_uid) != meta.study_uid:
            outcome = Addition.OTHER_STUDY
        else:
            outcome = Addition.NEW
            instances.add(meta.sop_instance_uid)
            owner[meta.study_uid], within[meta.series_uid] = meta.pseudonym, meta.study_uid
        outcomes.append(outcome)
    return outcomes


# Made once: to build a statement costs as much as to execute it.
_THESE: BindParameter[Any] = bindparam("these", expanding=True)
_PATIENTS = select(Patient.pseudonym, Patient.id).where(Patient.pseudonym.in_(_THESE))
_INSTANCES = select(Instance.uid, Instance.id).where(Instance.uid.in_(_THESE))
_SERIES = select(Series.uid, Series.id, Study.uid.label("study")).join(Series.study).where(Series.uid.in_(_THESE))
_STUDIES = (  # locked in one order, whatever the batch's, so that two processes wait for each other (PostgreSQL)
    select(Study.uid, Study.id, Patient.pseudonym, Study.state, Study.version, Study.last_received)
    .join(Study.patient)
    .where(Study.uid.in_(_THESE))
    .order_by(Study.uid)
    .with_for_update(of=Study)
)
_NEW_INSTANCES = insert(Instance).returning(Instance.uid, Instance.id)
_DONE = (
    update(Received)
    .where(Received.id == bindparam("row"))
    .values(state=ReceivedState.DONE, worker=None, claimed_at=None, reason=None, instance_id=bindparam("instance"))
)


class Additions(Database):
    """What workers write. Below the ORM: their time belongs to de-identification."""

    def known_instances(self, sop_instance_uids: Iterable[str]) -> set[str]:
        """Those that are archived here."""
        with self.reading() as session:
            return set(session.scalars(_INSTANCES, {"these": [*sop_instance_uids]}))

    def add_instances(self, batch: Sequence[NewInstance]) -> list[Addition]:
        """Catalogue archived objects and finish their rows of the spool, in one transaction; outcomes in its order.

        A study that was sealed opens again as its next version.
        """
        if not batch:
            return []
        now = datetime.now(UTC)
        metas = [new.meta for new in batch]
        with self._writing_below_orm() as connection:
            known = _look_up(connection, metas)
            outcomes = decide(metas, known)
            if self._make_room(connection, _those(batch, outcomes, Addition.NEW), known, now):
                outcomes = decide(metas, known)  # another process may have made them for others
            fresh = _those(batch, outcomes, Addition.NEW)
            _open_studies(connection, fresh, known, now)
            known.instances |= self._insert(connection, fresh, known, now)
            self._count(connection, fresh, known, now)
            _finish(
                connection, [new for new, outcome in zip(batch, outcomes, strict=True) if not outcome.refused], known
            )
        return outcomes

    def _make_room(self, connection: Connection, batch: Sequence[NewInstance], known: Known, now: datetime) -> bool:
        """Make the studies and series of ``batch`` that are not there, and look up who has them; False: all are."""
        studies = {new.meta.study_uid: new for new in batch if new.meta.study_uid not in known.studies}
        series = {new.meta.series_uid: new.meta for new in batch if new.meta.series_uid not in known.series}
        if studies:
            rows = [
                {
                    "uid": uid,
                    "patient_id": known.patients[new.meta.pseudonym],
                    "description": new.meta.study_description,
                    "state": StudyState.OPEN,
                    "version": 1,
                    "first_received": _received_at(new, now),
                    "last_received": _received_at(new, now),
                }
                for uid, new in sorted(studies.items())
            ]
            connection.execute(self.insert_new(Study), rows)
            known.studies |= _studies(connection, studies)
        if series:
            rows = [
                {
                    "uid": uid,
                    "study_id": known.studies[meta.study_uid].id,
                    "modality": meta.modality,
                    "body_part": meta.body_part,
                    "description": meta.series_description,
                    "frame_of_reference_uid": meta.frame_of_reference_uid,
                }
                for uid, meta in sorted(series.items())
            ]
            connection.execute(self.insert_new(Series), rows)
            known.series |= _series(connection, series)
        return bool(studies or series)

    def _insert(
        self, connection: Connection, batch: Sequence[NewInstance], known: Known, now: datetime
    ) -> dict[str, int]:
        if not batch:
            return {}
        rows = [_row(new, known, now) for new in batch]
        made = connection.execute(_NEW_INSTANCES, rows)
        ids: dict[str, int] = {row.uid: row.id for row in made}
        references: list[dict[str, object]] = []
        labels: list[dict[str, object]] = []
        for meta in (new.meta for new in batch):
            instance = ids[meta.sop_instance_uid]
            references += ({"instance_id": instance, "series_uid": uid} for uid in meta.referenced_series)
            labels += ({"instance_id": instance, "number": a.number, "name": a.name} for a in meta.labels)
        if references:
            connection.execute(insert(Reference), references)
        if labels:
            connection.execute(insert(Label), labels)
        return ids

    def _count(self, connection: Connection, batch: Sequence[NewInstance], known: Known, now: datetime) -> None:
        """Have the PACS asked about studies before they are sealed."""
        rows = {
            new.meta.study_uid: {
                "study_id": known.studies[new.meta.study_uid].id,
                "target": new.target,
                "next_ask_at": _received_at(new, now),
                "tries": 0,
            }
            for new in batch
            if new.target is not None
        }
        if rows:
            connection.execute(self.insert_new(StudyCount), [row for _, row in sorted(rows.items())])


def _those(batch: Sequence[NewInstance], outcomes: Sequence[Addition], wanted: Addition) -> list[NewInstance]:
    return [new for new, outcome in zip(batch, outcomes, strict=True) if outcome is wanted]


def _received_at(new: NewInstance, now: datetime) -> datetime:
    return new.received.received_at if new.received else now


def _look_up(connection: Connection, metas: Sequence[ArchivedInstance]) -> Known:
    patients = connection.execute(_PATIENTS, {"these": [*{m.pseudonym for m in metas}]})
    instances = connection.execute(_INSTANCES, {"these": [*{m.sop_instance_uid for m in metas}]})
    return Known(
        patients={row.pseudonym: row.id for row in patients},
        instances={row.uid: row.id for row in instances},
        studies=_studies(connection, {m.study_uid for m in metas}),
        series=_series(connection, {m.series_uid for m in metas}),
    )


def _studies(connection: Connection, uids: Iterable[str]) -> dict[str, KnownStudy]:
    return {row.uid: KnownStudy(*row[1:]) for row in connection.execute(_STUDIES, {"these": [*uids]})}


def _series(connection: Connection, uids: Iterable[str]) -> dict[str, tuple[int, str]]:
    return {row.uid: (row.id, row.study) for row in connection.execute(_SERIES, {"these": [*uids]})}


def _open_studies(connection: Connection, batch: Sequence[NewInstance], known: Known, now: datetime) -> None:
    """Sealed studies that get something become their next version; all know when they last got something."""
    latest: dict[str, datetime] = {}
    for new in batch:
        uid = new.meta.study_uid
        latest[uid] = max(latest.get(uid, known.studies[uid].last_received), _received_at(new, now))
    for uid, last_received in latest.items():
        study = known.studies[uid]
        version = study.version + (study.state == StudyState.SEALED)
        known.studies[uid] = KnownStudy(study.id, study.pseudonym, StudyState.OPEN, version, last_received)
        if known.studies[uid] != study:
            values = {"state": StudyState.OPEN, "version": version, "last_received": last_received}
            connection.execute(update(Study).where(Study.id == study.id).values(values))


def _row(new: NewInstance, known: Known, now: datetime) -> dict[str, object]:
    meta = new.meta
    return {
        "uid": meta.sop_instance_uid,
        "series_id": known.series[meta.series_uid][0],
        "version": known.studies[meta.study_uid].version,
        "sop_class_uid": meta.sop_class_uid,
        "transfer_syntax_uid": meta.transfer_syntax_uid,
        "number": meta.number,
        "rows": meta.rows,
        "columns": meta.columns,
        "frames": meta.frames,
        "position": _list(meta.position),
        "orientation": _list(meta.orientation),
        "pixel_spacing": _list(meta.pixel_spacing),
        "slice_thickness": meta.slice_thickness,
        "location": meta.location,
        "size": new.size,
        "sha256": new.sha256,
        "rules": meta.rules,
        "archived_at": now,
    }


def _finish(connection: Connection, batch: Sequence[NewInstance], known: Known) -> None:
    """Their rows of the spool are done."""
    done = [
        {"row": new.received.id, "instance": known.instances[new.meta.sop_instance_uid]}
        for new in batch
        if new.received
    ]
    if done:
        connection.execute(_DONE, done)


def _list(numbers: Sequence[float] | None) -> list[float] | None:
    return None if numbers is None else list(numbers)
