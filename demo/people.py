"""Invented patients, physicians and institutions, planted in the demo's studies so that there is something to remove.

No such person exists. Leak tests search for `PLANTED`: not one of these strings may be found in what a node stores,
logs, measures or sends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What identifies the patient and the staff in one hospital's study (DICOM values; PN as Family^Given^^Prefix)."""

    patient_name: str
    other_patient_name: str
    mother_birth_name: str
    patient_id: str
    issuer: str
    insurance_number: str
    birth_date: str
    sex: str
    age: str
    address: str
    phone: str
    accession_number: str
    study_id: str
    study_date: str
    referring_physician: str
    reading_physician: str
    performing_physician: str
    operator: str
    requesting_service: str
    institution: str
    institution_address: str
    department: str
    station: str
    device_serial: str

    @property
    def study_comment(self) -> str:
        """Free text as it is written in practice: it names people."""
        family, given, *_ = self.patient_name.split("^")
        return f"{given} {family}, PID {self.patient_id}: call {self.phone} before contrast"

    @property
    def planted(self) -> tuple[str, ...]:
        """Each string that must be found nowhere behind the node's front door."""
        people = (
            self.patient_name,
            self.other_patient_name,
            self.mother_birth_name,
            self.referring_physician,
            self.reading_physician,
            self.performing_physician,
            self.operator,
        )
        families = tuple(name.split("^")[0] for name in people)
        single = (
            self.patient_id,
            self.issuer,
            self.insurance_number,
            self.birth_date,
            self.address,
            self.phone,
            self.accession_number,
            self.study_id,
            self.study_date,
            self.requesting_service,
            self.institution,
            self.institution_address,
            self.department,
            self.station,
            self.device_serial,
        )
        return tuple(dict.fromkeys((*people, *families, *single)))


IDENTITIES: Mapping[str, Identity] = MappingProxyType(
    {
        "a": Identity(
            patient_name="Achterberg^Wilhelmina^J^Mevr.",
            other_patient_name="Achterberg-Roelofs^Wilhelmina",
            mother_birth_name="Zonnevylle",
            patient_id="NHL-4471-8830",
            issuer="NOORDHAVEN-PAS",
            insurance_number="BSN-218837465",
            birth_date="19510617",
            sex="F",
            age="072Y",
            address="Kanaalkade 118, 9934 PX Noordhaven",
            phone="+31 59 64027718",
            accession_number="ACC20240318771",
            study_id="STU-66120",
            study_date="20240318",
            referring_physician="Vandersteen^Cornelis^^Dr.",
            reading_physician="Oosterwijk^Saskia^^Dr.",
            performing_physician="Blankenvoort^Anouk^^Dr.",
            operator="Heuvelmans^Pim",
            requesting_service="Longpoli Noordhaven",
            institution="Noordhaven Ziekenhuis",
            institution_address="Vestingwal 4, 9933 KB Noordhaven",
            department="Radiologie Vleugel N3",
            station="NHCT-SOM2",
            device_serial="SN-7730914",
        ),
        "b": Identity(
            patient_name="Lefèbvre-Quessy^Aurélien^^M.",
            other_patient_name="Quessy^Aurelien",
            mother_birth_name="Bérangeon",
            patient_id="0093381176",
            issuer="CHU-ROCHEBRUNE-IPP",
            insurance_number="169027512388141",
            birth_date="19690211",
            sex="M",
            age="055Y",
            address="27 rue des Tisserands, 88321 Rochebrune",
            phone="+33 3 29550186",
            accession_number="RB-2024-118206",
            study_id="EX88213",
            study_date="20240506",
            referring_physician="Tournemire^Geneviève^^Pr",
            reading_physician="Castelbajac^Hugues^^Dr",
            performing_physician="Montferrand^Odile^^Dr",
            operator="Pelletrat^Yannick",
            requesting_service="Gastro-entérologie Rochebrune",
            institution="CHU de Rochebrune",
            institution_address="Place du Parvis 1, 88320 Rochebrune",
            department="Imagerie Pavillon Curie 2",
            station="RBSCAN04",
            device_serial="FR-CT-550821",
        ),
        "c": Identity(
            patient_name="Brügglihofer^Urs^Matthäus",
            other_patient_name="Brueggli^Urs",
            mother_birth_name="Zurfluhmatter",
            patient_id="KSB88041975-2",
            issuer="KS-BERGWIL-MPI",
            insurance_number="756.9217.0769.85",
            birth_date="19750408",
            sex="M",
            age="047Y",
            address="Seilbahnweg 9, 6487 Bergwil",
            phone="+41 41 8872063",
            accession_number="BGW22-0090417",
            study_id="PETCT-3317",
            study_date="20221208",
            referring_physician="Inderbitzin^Regula^^Dr. med.",
            reading_physician="Amstalden^Beat^^PD Dr.",
            performing_physician="Gnosibacher^Vreni^^Dr. med.",
            operator="Schüpfheimer^Reto",
            requesting_service="Onkologie Bergwil",
            institution="Kantonsspital Bergwil",
            institution_address="Spitalhalde 12, 6486 Bergwil",
            department="Nuklearmedizin Haus D",
            station="BGWPETCT2",
            device_serial="60064-BGW",
        ),
    }
)

PLANTED: Mapping[str, tuple[str, ...]] = MappingProxyType({site: who.planted for site, who in IDENTITIES.items()})
"""Site to every identifying string in its study."""
