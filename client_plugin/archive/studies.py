"""The archive's side of the catalogue: patients, studies, series, instances, their versions and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import delete, func, select
from sqlalchemy.orm import selectinload

from client_plugin.archive.database import Database
from client_plugin.archive.geometry import StackGeometry
from client_plugin.archive.instance import InstanceRow, SegmentLabel
from client_plugin.archive.models import (
    Completeness,
    Instance,
    Label,
    Patient,
    Pull,
    Quarantine,
    Series,
    Study,
    StudyState,
    StudyVersion,
)
from client_plugin.archive.received import waiting


@dataclass(frozen=True)
class StudySummary:
    """A line of ``fedpacs studies``."""

    study_uid: str
    pseudonym: str
    modalities: tuple[str, ...]
    body_parts: tuple[str, ...]
    series: int
    instances: int
    state: StudyState
    version: int
    last_received: datetime
    completeness: Completeness | None
    """Of the version that was sealed last; None before that."""
    expected: int | None
    """Instances its PACS counted then."""


class Studies(Database):
    """Everything archived."""

    def of_other_rules(self, rules: str) -> list[str]:
        """Studies with an instance that other rules de-identified: those to withdraw and have again after a change.

        Parameters
        ----------
        rules
            ``Profile.digest`` of the rules in force.
        """
        query = select(Study.uid).join(Study.series).join(Series.instances).where(Instance.rules != rules)
        with self.reading() as session:
            return sorted(session.scalars(query.distinct()))

    def withdraw_rows(self, study_uid: str) -> list[tuple[str, str]]:
        """Delete a study and that it was ever received; returns pseudonym and UID of each of its instances.

        Its patient stays known, with the same key, and what arrives for them is taken.
        """
        instances = (
            select(Patient.pseudonym, Instance.uid)
            .join(Patient.studies)
            .join(Study.series)
            .join(Series.instances)
            .where(Study.uid == study_uid)
        )
        with self.writing() as session:
            gone = [(row.pseudonym, row.uid) for row in session.execute(instances)]
            session.execute(delete(Pull).where(Pull.study_uid == study_uid))
            session.execute(delete(Study).where(Study.uid == study_uid))  # the rest cascades
            return gone

    def instance(self, sop_instance_uid: str) -> InstanceRow | None:
        """One archived instance; None if it is not here."""
        found = self._instances(Instance.uid == sop_instance_uid)
        return found[0] if found else None

    def series(self, series_uid: str, version: int | None = None) -> list[InstanceRow]:
        """The instances of a series by location along the normal, then number, then UID.

        Parameters
        ----------
        version
            Only what a sealed version of the study holds; None: everything.
        """
        where = [Series.uid == series_uid] + ([Instance.version <= version] if version is not None else [])
        return sorted(self._instances(*where), key=lambda i: (i.location or 0.0, i.number or 0, i.sop_instance_uid))

    def geometry(self, series_uid: str) -> StackGeometry | None:
        """What the stack of a series was like when its study was last sealed; None before that."""
        with self.reading() as session:
            found = session.scalars(select(Series.geometry).where(Series.uid == series_uid)).one_or_none()
            return StackGeometry.from_json(found) if found else None

    def _instances(self, *where: object) -> list[InstanceRow]:
        query = (
            select(Instance, Series, Study, Patient.pseudonym)
            .join(Instance.series)
            .join(Series.study)
            .join(Study.patient)
            .where(*where)  # type: ignore[arg-type]
            .options(selectinload(Instance.references), selectinload(Instance.labels))
        )
        with self.reading() as session:
            return [_instance_row(*row) for row in session.execute(query)]

    def studies(self) -> list[StudySummary]:
        """Every study, the latest first."""
        counted = (
            select(Series.study_id, func.count(Series.id.distinct()), func.count(Instance.id))
            .join(Series.instances)
            .group_by(Series.study_id)
        )
        kinds = select(Series.study_id, Series.modality, Series.body_part).distinct()
        latest = select(func.max(StudyVersion.id)).group_by(StudyVersion.study_id)
        sealed = select(StudyVersion).where(StudyVersion.id.in_(latest))
        rows = select(Study, Patient.pseudonym).join(Study.patient).order_by(Study.last_received.desc(), Study.uid)
        with self.reading() as session:
            counts = {study: (series, instances) for study, series, instances in session.execute(counted)}
            versions = {version.study_id: version for version in session.scalars(sealed)}
            modalities: dict[int, set[str]] = {}
            body_parts: dict[int, set[str]] = {}
            for study_id, modality, body_part in session.execute(kinds):
                modalities.setdefault(study_id, set()).add(modality)
                body_parts.setdefault(study_id, set()).add(body_part)
            return [
                StudySummary(
                    study_uid=study.uid,
                    pseudonym=pseudonym,
                    modalities=tuple(sorted(modalities.get(study.id, set()) - {""})),
                    body_parts=tuple(sorted(body_parts.get(study.id, set()) - {""})),
                    series=counts.get(study.id, (0, 0))[0],
                    instances=counts.get(study.id, (0, 0))[1],
                    state=StudyState(study.state),
                    version=study.version,
                    last_received=study.last_received,
                    completeness=Completeness(versions[study.id].completeness) if study.id in versions else None,
                    expected=versions[study.id].expected if study.id in versions else None,
                )
                for study, pseudonym in session.execute(rows)
            ]

    def counts(self) -> dict[str, int]:
        """Totals: ``patients``, ``studies``, ``studies_open``, ``studies_sealed``, ``series``, ``instances``,
        ``bytes``, ``spool_pending`` (claimed ones too) and ``quarantine``."""
        with self.reading() as session:
            by_state = select(Study.state, func.count().label("studies")).group_by(Study.state)
            states = {row.state: row.studies for row in session.execute(by_state)}
            total = {
                table.__tablename__: session.scalars(select(func.count()).select_from(table)).one()
                for table in (Patient, Study, Series, Instance, Quarantine)
            }
            return {
                **total,
                "studies_open": states.get(StudyState.OPEN, 0),
                "studies_sealed": states.get(StudyState.SEALED, 0),
                "bytes": int(session.scalars(select(func.coalesce(func.sum(Instance.size), 0))).one()),
                "spool_pending": waiting(session)[0],
            }


def _tuple(numbers: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers)


def _instance_row(instance: Instance, series: Series, study: Study, pseudonym: str) -> InstanceRow:
    return InstanceRow(
        pseudonym=pseudonym,
        study_uid=study.uid,
        series_uid=series.uid,
        sop_instance_uid=instance.uid,
        sop_class_uid=instance.sop_class_uid,
        transfer_syntax_uid=instance.transfer_syntax_uid,
        modality=series.modality,
        body_part=series.body_part,
        study_description=study.description,
        series_description=series.description,
        frame_of_reference_uid=series.frame_of_reference_uid,
        number=instance.number,
        rows=instance.rows,
        columns=instance.columns,
        frames=instance.frames,
        position=(instance.position[0], instance.position[1], instance.position[2]) if instance.position else None,
        orientation=_tuple(instance.orientation),
        pixel_spacing=_tuple(instance.pixel_spacing),
        slice_thickness=instance.slice_thickness,
        location=instance.location,
        referenced_series=tuple(sorted(reference.series_uid for reference in instance.references)),
        labels=tuple(SegmentLabel(label.number, label.name) for label in sorted(instance.labels, key=_number)),
        version=instance.version,
        size=instance.size,
        sha256=instance.sha256,
        rules=instance.rules,
        archived_at=instance.archived_at,
    )


def _number(label: Label) -> int:
    return label.number
