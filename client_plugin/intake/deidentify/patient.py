"""Whose instance it is, and what is known of the people around it."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from client_plugin.intake.deidentify.codes import Quarantine, Reason
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.keyed import Keyed

#: Names of people and places, each word of which counts.
_NAMES = (
    "PatientName",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "ResponsiblePerson",
    "ReferringPhysicianName",
    "ConsultingPhysicianName",
    "PerformingPhysicianName",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansOfRecord",
    "OperatorsName",
    "RequestingPhysician",
    "InstitutionName",
    "InstitutionAddress",
    "PatientAddress",
    "ContentCreatorName",
    "ReviewerName",
    "ScheduledPerformingPhysicianName",
)
#: Identifiers of the patient, the visit, the order, the device.
_NUMBERS = (
    "PatientID",
    "OtherPatientIDs",
    "AccessionNumber",
    "StudyID",
    "AdmissionID",
    "IssuerOfPatientID",
    "PatientTelephoneNumbers",
    "MedicalRecordLocator",
    "MilitaryRank",
    "ServiceEpisodeID",
    "RequestedProcedureID",
    "PerformedProcedureStepID",
    "ScheduledProcedureStepID",
    "DeviceSerialNumber",
    "StationName",
)
_DATES = ("PatientBirthDate",)


@dataclass(frozen=True)
class Patient:
    """The patient of one instance.

    Attributes
    ----------
    pseudonym : str
    shift_days : int
        By how many days all dates of this patient move; negative.
    known : Identifiers
        What must not stay anywhere in the instance.
    """

    pseudonym: str
    shift_days: int
    known: Identifiers

    @classmethod
    def of(cls, ds: Dataset, keyed: Keyed) -> Patient:
        """Find out whose instance ``ds`` is.

        A patient is a Patient ID within its issuer (PS3.3 C.7.1.1): two hospitals' patients with one number are two
        patients. Without a Patient ID the study is taken for the patient.

        Raises
        ------
        Quarantine
            Neither a Patient ID nor a Study Instance UID.
        """
        number, study = _text(ds, "PatientID"), _text(ds, "StudyInstanceUID")
        if number:
            whose = f"id\0{_text(ds, 'IssuerOfPatientID')}\0{number}"
        elif study:
            whose = f"study\0{study}"
        else:
            raise Quarantine(Reason.MISSING_UID)
        known = Identifiers(
            names=(_text(ds, keyword) for keyword in _NAMES),
            numbers=(part for keyword in _NUMBERS for part in _text(ds, keyword).split("\\")),
            dates=(_text(ds, keyword) for keyword in _DATES),
        )
        return cls(keyed.pseudonym(whose), keyed.shift_days(whose), known)


def _text(ds: Dataset, keyword: str) -> str:
    """The value of a top-level attribute as text; empty where it is absent or cannot be read."""
    try:
        value = ds.get(keyword)
    except (ValueError, TypeError, LookupError):
        return ""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    try:
        return "\\".join(str(part) for part in value).strip() if not hasattr(value, "components") else str(value)
    except TypeError:
        return str(value).strip()
