"""Patients: pseudonyms, the wrapped keys of their data, and forgetting them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import delete, select

from client_plugin.archive.database import Database
from client_plugin.archive.models import Forgotten, Instance, Patient, Pull, Quarantine, Received, Series, Study


class PatientForgotten(LookupError):  # noqa: N818 - it is the state of the patient that is named
    """This patient's data was destroyed on request; nothing of theirs is taken any more."""


class Patients(Database):
    """Who is here, under which key."""

    def patient_key(self, pseudonym: str) -> bytes | None:
        """The wrapped data key of a patient; None for one who is not here."""
        with self.reading() as session:
            return session.scalars(select(Patient.wrapped_key).where(Patient.pseudonym == pseudonym)).one_or_none()

    def add_patient(self, pseudonym: str, wrapped_key: bytes) -> bytes:
        """Keep the wrapped key of a new patient; returns the one that is kept, which another process may have made.

        Raises
        ------
        PatientForgotten
            The patient was forgotten.
        """
        with self.writing() as session:
            if session.scalars(select(Forgotten.id).where(Forgotten.pseudonym == pseudonym)).one_or_none():
                raise PatientForgotten("the patient was forgotten at this site: discard the instance")
            values = {"pseudonym": pseudonym, "wrapped_key": wrapped_key, "created_at": datetime.now(UTC)}
            session.execute(self.insert_new(Patient), [values])
            return session.scalars(select(Patient.wrapped_key).where(Patient.pseudonym == pseudonym)).one()

    def key_of(self, sop_instance_uid: str) -> tuple[str, bytes] | None:
        """Pseudonym and wrapped data key that an archived instance is sealed under; None if it is not here."""
        query = (
            select(Patient.pseudonym, Patient.wrapped_key)
            .join(Patient.studies)
            .join(Study.series)
            .join(Series.instances)
            .where(Instance.uid == sop_instance_uid)
        )
        with self.reading() as session:
            found = session.execute(query).one_or_none()
            return (found.pseudonym, found.wrapped_key) if found else None

    def forget_rows(self, pseudonym: str) -> list[str]:
        """Destroy the patient's wrapped key and every row; returns the spool names of their quarantined raw copies.

        The pseudonym itself is kept among the forgotten, so that what still arrives is refused.
        """
        with self.writing() as session:
            raw = select(Quarantine.spool_name, Quarantine.received_id).where(Quarantine.pseudonym == pseudonym)
            copies = session.execute(raw).all()
            session.execute(delete(Quarantine).where(Quarantine.pseudonym == pseudonym))
            session.execute(delete(Received).where(Received.id.in_([copy.received_id for copy in copies])))
            studies = select(Study.uid).join(Study.patient).where(Patient.pseudonym == pseudonym)
            session.execute(delete(Pull).where(Pull.study_uid.in_(studies)))
            session.execute(delete(Patient).where(Patient.pseudonym == pseudonym))  # the rest cascades
            session.execute(self.insert_new(Forgotten), [{"pseudonym": pseudonym, "forgotten_at": datetime.now(UTC)}])
            return [copy.spool_name for copy in copies]

    def rewrap_keys(self, rewrap: Callable[[str, bytes], bytes]) -> int:
        """Replace every wrapped key by ``rewrap(pseudonym, wrapped)``, all or none; returns how many changed."""
        changed = 0
        with self.writing() as session:
            for patient in session.scalars(select(Patient).with_for_update()):
                wrapped = rewrap(patient.pseudonym, patient.wrapped_key)
                changed += wrapped != patient.wrapped_key
                patient.wrapped_key = wrapped
        return changed
