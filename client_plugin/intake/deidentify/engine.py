"""De-identify one instance: the decisions before, the pass over its elements, and what it says of itself afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from pydicom.dataset import FileDataset
from pydicom.tag import BaseTag

from client_plugin.archive import reading
from client_plugin.intake.deidentify import burned_in, encoding, header, screening, standard
from client_plugin.intake.deidentify.codes import Action, Done, Option, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.keyed import Keyed, Keys
from client_plugin.intake.deidentify.outcomes import Outcomes
from client_plugin.intake.deidentify.patient import Patient
from client_plugin.intake.deidentify.profile import Profile
from client_plugin.intake.deidentify.screening import TextRisk
from client_plugin.intake.deidentify.vault import Identity
from client_plugin.intake.deidentify.walk import Walk

_PIXEL_DATA = 0x7FE00010


@dataclass(frozen=True)
class Deidentified:
    """An instance fit for the archive.

    Attributes
    ----------
    dataset : FileDataset
        A new data set with a new file meta group and an empty preamble; encoded as the original was.
    pseudonym : str
        Of its patient.
    record : list of Action
        What was done to which element under which rule, without the values.
    profile_digest : str
        Of the rules it was made by (``Profile.digest``).
    identity : Identity
        Who the patient is: for the vault, never for the archive. Not part of the representation.
    """

    dataset: FileDataset
    pseudonym: str
    record: list[Action]
    profile_digest: str
    identity: Identity = field(repr=False)

    def encoded(self) -> bytes:
        """The instance as a DICOM file (PS3.10)."""
        return encoding.encode(self.dataset)


class Deidentifier:
    """Apply a profile with a site's keys. It remembers outcomes, but the order of instances does not matter.

    Parameters
    ----------
    profile : Profile
    keys : Keys
        The site's keys; those for the purposes "uid", "pseudonym" and "dates" are used.
    """

    def __init__(self, profile: Profile, keys: Keys) -> None:
        self.profile = profile
        self._keyed = Keyed(keys)
        self._outcomes = Outcomes(profile, self._keyed)
        self._digest = profile.digest

    def apply(self, ds: Dataset) -> Deidentified:
        """De-identify ``ds``, which is left as it is.

        Raises
        ------
        Quarantine
            The instance must not be kept: its SOP class is unknown, its pixels may show text, it is malformed.
        """
        patient = Patient.of(ds, self._keyed)
        try:
            return self._apply(ds, patient)
        except Quarantine as refused:
            raise Quarantine(refused.reason, patient.pseudonym) from None

    def _apply(self, ds: Dataset, patient: Patient) -> Deidentified:
        sop_class, iod = screening.sop_class(ds)
        screening.check(ds, iod, self.profile)
        syntax = header.transfer_syntax(ds)
        implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
        walk = Walk(self.profile, self._outcomes, iod, patient, implicit=implicit)
        instance = self._outcomes.uid(header.sop_instance(ds))
        try:
            elements: dict[BaseTag, Any] = {}
            walk.items(ds, standard.TOP, (), elements)
            walk.finish()
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, EOFError, RuntimeError):
            raise Quarantine(Reason.UNREADABLE) from None  # the original message may quote a value
        elements |= header.statements(self.profile, implicit, little)
        meta = header.file_meta(sop_class, instance, syntax)
        dataset = FileDataset("", elements, file_meta=meta, preamble=bytes(128))
        dataset.set_original_encoding(implicit, little, ds.original_character_set)
        if Option.CLEAN_PIXEL_DATA in self.profile.options:
            self._clean_pixels(ds, iod, dataset, walk)
        for keyword, uid in (("SOPClassUID", sop_class), ("SOPInstanceUID", instance)):
            if reading.text(dataset, keyword) != uid:  # the original had it in its file meta information only
                setattr(dataset, keyword, uid)
        record = [*walk.record, *header.ADDED]
        return Deidentified(dataset, patient.pseudonym, record, self._digest, patient.identity)

    def _clean_pixels(self, ds: Dataset, iod: str, dataset: FileDataset, walk: Walk) -> None:
        risk = screening.text_risk(ds, iod)
        if risk is TextRisk.NONE:
            return
        likely = risk is TextRisk.LIKELY
        burned_in.clean(dataset, burned_in.ultrasound_regions(ds) if likely else [], everything=likely)
        dataset.BurnedInAnnotation = "NO"
        walk.record.append(Action((), _PIXEL_DATA, Done.CLEANED, Rule.BURNED_IN))
