"""De-identify one instance: one recursive pass over every element of every nested item.

Elements are taken and given in their encoded form. What stays is never decoded and encoded again, so it stays byte for
byte, pixel data included, and one CT image takes a few milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary
from pydicom.valuerep import TEXT_VR_DELIMS

from client_plugin.intake.deidentify import descriptors, header, screening, standard, values
from client_plugin.intake.deidentify.codes import Action, Done, Quarantine, Reason, Rule
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.keyed import Keyed, Keys
from client_plugin.intake.deidentify.patient import Patient
from client_plugin.intake.deidentify.profile import Op, Profile, Step, required

_CODE_VALUE = 0x00080100
_DONE = {Op.REMOVE: Done.REMOVED, Op.EMPTY: Done.EMPTIED, Op.DUMMY: Done.REPLACED}


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
    """

    dataset: FileDataset
    pseudonym: str
    record: list[Action]
    profile_digest: str


class Deidentifier:
    """Apply a profile with a site's keys. Has no state besides: the order of instances does not matter.

    Parameters
    ----------
    profile : Profile
    keys : Keys
        The site's keys; those for the purposes "uid", "pseudonym" and "dates" are used.
    """

    def __init__(self, profile: Profile, keys: Keys) -> None:
        self.profile = profile
        self._keyed = Keyed(keys)
        self._digest = profile.digest

    def apply(self, ds: Dataset) -> Deidentified:
        """De-identify ``ds``, which is left as it is.

        Raises
        ------
        Quarantine
            The instance must not be kept: its SOP class is unknown, its pixels may show text, it is malformed.
        """
        sop_class, iod = screening.sop_class(ds)
        screening.check(ds, iod)
        patient = Patient.of(ds, self._keyed)
        one = _Pass(self.profile, self._keyed, iod, patient)
        meta = header.file_meta(ds, sop_class, one.uid)
        try:
            dataset = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
            one.items(ds, standard.TOP, (), dataset)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, LookupError):
            raise Quarantine(Reason.UNREADABLE) from None  # the original message may quote a value
        header.identify(dataset, meta, self.profile)
        one.record.extend(header.ADDED)
        return Deidentified(dataset, patient.pseudonym, one.record, self._digest)


class _Pass:
    """The state of one pass over one instance."""

    def __init__(self, profile: Profile, keyed: Keyed, iod: str, patient: Patient) -> None:
        self._profile = profile
        self._keyed = keyed
        self._iod = iod
        self._patient = patient
        self._known: Identifiers = patient.known
        self.record: list[Action] = []

    def uid(self, original: str) -> str:
        """Replace a UID, unless the standard registers it: then it names a class or a scheme, nobody's instance."""
        return original if original in UID_dictionary or not original else self._keyed.uid(original)

    def items(self, source: Dataset, parent: int, path: tuple[tuple[int, int], ...], target: Dataset) -> Dataset:
        """Fill ``target`` with what stays of ``source``, a data set or an item of the sequence ``parent``."""
        steps = self._profile.steps(self._iod, parent)
        implicit, little = source.original_encoding
        if implicit is None:
            implicit, little = False, True
        charset = source.original_character_set
        target.set_original_encoding(implicit, little, charset)
        elements: dict[BaseTag, Any] = {}
        for tag in list(source.keys()):  # iterating over a Dataset would decode every element
            number = int(tag)
            step = steps.get(number) or steps.get(standard.fold(number))
            if step is None:
                self._note(path, number, Done.REMOVED, _unlisted(number))
                continue
            op = step.op
            if op is Op.REMOVE:
                self._note(path, number, Done.REMOVED, step.rule)
                continue
            element = source.get_item(tag)
            if step.vrs == ("SQ",):
                element = source[tag]
                if element.VR == "SQ":
                    elements[tag] = self._sequence(element, step, path, charset)
                else:
                    self._note(path, number, Done.REMOVED, Rule.VR)
                continue
            if not element.is_raw or element.VR == "UN":
                element = _encoded(source[tag], implicit, little, charset)
            if element.VR == "SQ" or (element.VR is not None and not _agrees(element.VR, step.vrs)):
                self._note(path, number, Done.REMOVED, Rule.VR)
                continue
            kept = self._value(element, step, path, charset)
            if kept is not None:
                elements[tag] = kept
        target.update(elements)
        return target

    def _sequence(
        self, element: DataElement, step: Step, path: tuple[tuple[int, int], ...], charset: Any
    ) -> DataElement:
        tag = int(element.tag)
        parent = standard.fold(tag)
        if step.op is not Op.SEQUENCE:
            self._note(path, tag, _DONE[step.op], step.rule)
        if step.op is Op.EMPTY:
            made: list[Dataset] = []
        elif step.op is Op.DUMMY and _CODE_VALUE in self._profile.steps(self._iod, parent):
            made = [header.code_item("REMOVED", "99FEDPACS", "Removed")]
        else:
            made = [
                self.items(item, parent, (*path, (tag, index)), Dataset(parent_encoding=charset))
                for index, item in enumerate(element.value)
            ]
        return DataElement(element.tag, "SQ", Sequence(made))

    def _value(
        self, raw: RawDataElement, step: Step, path: tuple[tuple[int, int], ...], charset: Any
    ) -> RawDataElement | None:
        """What stays of one element that is no sequence, or None."""
        op, value = step.op, raw.value or b""
        vr = raw.VR or step.vrs[0]
        if op is Op.CHARSET and not values.is_charset(value):
            return self._without(raw, vr, Op.REMOVE, path, Rule.VR)
        if op in (Op.KEEP, Op.PIXELS, Op.CHARSET) or (not value and op is not Op.DUMMY and op is not Op.PATIENT):
            return raw
        new: bytes | None
        done, rule = Done.CLEANED, step.rule
        if op is Op.NUMBER:
            new, rule = (value if values.is_number(value) else None), Rule.VR
        elif op is Op.CODE:
            new, rule = (value if values.is_code(value) else None), Rule.VR
        elif op is Op.UID:
            new, done, rule = self._uids(value), Done.REMAPPED, Rule.UID if step.rule is Rule.IOD else step.rule
        elif op in (Op.LABEL, Op.TEXT):
            new, rule = self._text(value, vr, op, charset), Rule.DESCRIPTOR
        elif op is Op.DATE:
            new, rule = values.shift_date(value, self._patient.shift_days), Rule.DATE
        elif op is Op.DATETIME:
            new, rule = values.shift_datetime(value, self._patient.shift_days), Rule.DATE
        elif op is Op.TIME:
            new, rule = (value if values.is_time(value) else None), Rule.VR
        elif op is Op.AGE:
            new, rule = values.limit_age(value), Rule.AGE
        elif op is Op.PATIENT:
            new, done = self._patient.pseudonym.encode(), Done.REPLACED
        else:
            return self._without(raw, vr, op, path, step.rule)
        if new is None or (not new and value.strip(b" \0")):
            return self._without(raw, vr, required(step.type), path, rule)
        if new in (value, value.rstrip(b" \0")):
            return raw
        self._note(path, int(raw.tag), done, rule)
        return _replaced(raw, new, vr)

    def _without(
        self, raw: RawDataElement, vr: str, op: Op, path: tuple[tuple[int, int], ...], rule: Rule
    ) -> RawDataElement | None:
        """Remove, empty or replace by a dummy."""
        self._note(path, int(raw.tag), _DONE[op], rule)
        if op is Op.REMOVE:
            return None
        return _replaced(raw, b"" if op is Op.EMPTY else values.dummy(vr), vr)

    def _uids(self, value: bytes) -> bytes:
        parts = value.decode("ascii", "replace").split("\\")
        return "\\".join(self.uid(part.strip(" \0")) for part in parts).encode()

    def _text(self, value: bytes, vr: str, op: Op, charset: Any) -> bytes:
        if value.isascii() and b"\x1b" not in value:
            text = value.decode("ascii")
        else:
            text = decode_bytes(value, convert_encodings(charset), TEXT_VR_DELIMS)
        if op is Op.LABEL and not self._known.found_in(text) and not descriptors.is_telling(text):
            return value
        parts = text.split("\\") if vr in ("SH", "LO", "UC") else [text]
        cleaned = "\\".join(descriptors.clean(part, self._known) for part in parts)
        if cleaned == text.strip():
            return value
        return cleaned.strip("\\").encode("ascii", "ignore")

    def _note(self, path: tuple[tuple[int, int], ...], tag: int, done: Done, rule: Rule) -> None:
        self.record.append(Action(path, tag, done, rule))


def _unlisted(tag: int) -> Rule:
    if tag >> 16 & 1:
        return Rule.PRIVATE
    if not tag & 0xFFFF or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFC, 0xFFFE):
        return Rule.STRUCTURE
    return Rule.IOD


_TEXT = frozenset(
    {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"}
)


def _agrees(vr: str, allowed: tuple[str, ...]) -> bool:
    """Whether the VR in the data set is one that PS3.6 allows, or at least both are text or both are binary."""
    return vr in allowed or (vr in _TEXT) == (allowed[0] in _TEXT)


def _replaced(raw: RawDataElement, value: bytes, vr: str) -> RawDataElement:
    padded = values.pad(value, vr)
    return raw._replace(value=padded, length=len(padded))


def _encoded(element: DataElement, implicit: bool, little: bool, charset: Any) -> RawDataElement:
    """An element that something has decoded, in its encoded form again."""
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = True, little
    if element.VR == "SQ":
        return RawDataElement(element.tag, "SQ", 0, b"", 0, implicit, little)
    write_data_element(buffer, element, charset)
    value = buffer.getvalue()[8:]
    return RawDataElement(element.tag, element.VR, len(value), value, 0, implicit, little)
