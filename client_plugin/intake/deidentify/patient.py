"""Whose instance it is, and which elements tell who the people around it are."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydicom import Dataset

from client_plugin.archive import reading
from client_plugin.intake.deidentify.codes import Quarantine, Reason
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.vault import Identity

#: Attributes besides the person names that tell who or where somebody is: each word counts.
NAMES = frozenset(
    {
        0x00080080,  # Institution Name
        0x00080081,  # Institution Address
        0x00081040,  # Institutional Department Name
        0x00101040,  # Patient's Address
        0x00102152,  # Region of Residence
        0x0040A07A,  # Participant's organisation
        0x0040A027,  # Verifying Organization
        0x00380300,  # Current Patient Location
        0x00380400,  # Patient's Institution Residence
    }
)
#: Identifiers of the patient, the visit, the order and the device: each counts as a whole.
NUMBERS = frozenset(
    {
        0x00100020,  # Patient ID
        0x00100021,  # Issuer of Patient ID
        0x00101000,  # Other Patient IDs
        0x00101090,  # Medical Record Locator
        0x00102154,  # Patient's Telephone Numbers
        0x00080050,  # Accession Number
        0x00200010,  # Study ID
        0x00380010,  # Admission ID
        0x00380060,  # Service Episode ID
        0x00401001,  # Requested Procedure ID
        0x00400009,  # Scheduled Procedure Step ID
        0x00400253,  # Performed Procedure Step ID
        0x00402016,  # Placer Order Number
        0x00402017,  # Filler Order Number
        0x00181000,  # Device Serial Number
        0x00081010,  # Station Name
        0x00120040,  # Clinical Trial Subject ID
    }
)
DATES = frozenset({0x00100030, 0x00100033, 0x00100034})


@dataclass(frozen=True)
class Patient:
    """The patient of one instance.

    Attributes
    ----------
    pseudonym : str
    shift_days : int
        By how many days all dates of this patient move; negative.
    identity : Identity
        Who it is; for the vault alone.
    """

    pseudonym: str
    shift_days: int
    identity: Identity = field(repr=False)

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
        number, issuer, study = (_text(ds, k) for k in ("PatientID", "IssuerOfPatientID", "StudyInstanceUID"))
        if number:
            whose = f"id\0{issuer}\0{number}"
        elif study:
            whose = f"study\0{study}"
        else:
            raise Quarantine(Reason.MISSING_UID)
        name, birth_date, sex = (_text(ds, k) for k in ("PatientName", "PatientBirthDate", "PatientSex"))
        days = keyed.shift_days(whose)
        return cls(keyed.pseudonym(whose), days, Identity(number, issuer, name, birth_date, sex, days))


def _text(ds: Dataset, keyword: str) -> str:
    try:
        return reading.text(ds, keyword)
    except (ValueError, TypeError, LookupError):
        raise Quarantine(Reason.UNREADABLE) from None
