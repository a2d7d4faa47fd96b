"""One recursive pass over every element of every nested item.

Elements are taken and given in their encoded form: what stays is never decoded and encoded again, so it stays byte for
byte. Names and identifiers are noted as they are met, and text is looked at last, when all of them are known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag
from pydicom.uid import UID_dictionary
from pydicom.valuerep import TEXT_VR_DELIMS

from client_plugin.archive import reading
from client_plugin.intake.deidentify import descriptors, encoding, header, pixels, private, standard, values
from client_plugin.intake.deidentify.codes import Action, Done, Option, Path, Rule
from client_plugin.intake.deidentify.encoding import UNDEFINED_LENGTH
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.patient import DATES, NAMES, NUMBERS, Patient
from client_plugin.intake.deidentify.profile import TEXT_OPS, Op, Profile, Step, required

_CODE_VALUE, _CODE_MEANING = 0x00080100, 0x00080104
_DONE = {Op.REMOVE: Done.REMOVED, Op.EMPTY: Done.EMPTIED, Op.DUMMY: Done.REPLACED}
_WHY = {Op.NUMBER: Rule.VR, Op.CODE: Rule.VR, Op.BULK: Rule.IDENTIFIER}
"""Why a text changes; of all others since they are descriptors."""
_LOST = {Op.REMOVE, Op.EMPTY, Op.DUMMY, Op.PATIENT}
_NAMING = NAMES | NUMBERS | DATES
_TEXT_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_VALUES = frozenset({"SH", "LO", "UC", "CS"})
"""VRs in which a backslash separates values (PS3.5 6.4)."""


class _Text(NamedTuple):
    """A text element that waits until all names and identifiers are known."""

    elements: dict[BaseTag, Any]
    raw: RawDataElement
    step: Step
    path: Path
    charset: Any


class Walk:
    """The pass over one instance.

    Attributes
    ----------
    record : list of Action
        What was done, complete after ``finish``.
    known : Identifiers
        The names and identifiers that were met.
    """

    def __init__(self, profile: Profile, keyed: Keyed, iod: str, patient: Patient, *, implicit: bool) -> None:
        self._profile = profile
        self._keyed = keyed
        self._iod = iod
        self._patient = patient
        self._implicit = implicit
        self._retains_private = profile.retains_private
        self._texts: list[_Text] = []
        self.known = Identifiers()
        self.record: list[Action] = []

    def uid(self, original: str) -> str:
        """Replace a UID, unless the standard registers it (then it names a class or a scheme) or UIDs are retained."""
        if not original or original in UID_dictionary or Option.RETAIN_UIDS in self._profile.options:
            return original
        return self._keyed.uid(original)

    def items(self, source: Dataset, parent: int, path: Path, elements: dict[BaseTag, Any]) -> None:
        """Put into ``elements`` what stays of ``source``, a data set or an item of the sequence ``parent``."""
        steps = self._profile.steps(self._iod, parent)
        charset = source.original_character_set
        for tag, element in list(source.items()):  # as they are: iterating over a Dataset would decode every element
            number = int(tag)
            if number & 0x10000 and not self._retains_private:
                self._note(path, number, Done.REMOVED, Rule.PRIVATE)
                continue
            step = steps.get(number) or steps.get(standard.fold(number)) or self._private(source, number)
            if step is None or step.op is Op.REMOVE:
                self._learn(source, tag, number)
                self._note(path, number, Done.REMOVED, _unlisted(number) if step is None else step.rule)
                continue
            raw = self._raw(source, element, step)
            if step.op in _LOST:  # what an option retains is not searched for elsewhere
                self._learn(source, tag, number)
            if raw is None:
                self._note(path, number, Done.REMOVED, Rule.VR)
            elif step.vrs == ("SQ",):
                elements[tag] = self._sequence(source[tag], step, path, charset)
            else:
                self._element(raw, step, path, source, elements)
        if self._retains_private:
            for creator in {BaseTag(private.creator_of(tag)) for tag in elements if tag.is_private}:
                elements[creator] = source.get_item(creator)

    def finish(self) -> None:
        """Look at the texts, now that all names and identifiers are known."""
        for text in self._texts:
            del text.elements[text.raw.tag]  # until it is known what stays
            rule = _WHY.get(text.step.op, Rule.DESCRIPTOR)
            self._store(text.elements, text.raw, text.step, text.path, self._clean(text), Done.CLEANED, rule)

    def _private(self, source: Dataset, tag: int) -> Step | None:
        if not tag & 0x10000:
            return None
        vr = private.safe(source, tag)
        return None if vr is None else self._profile.private_step(vr)

    def _learn(self, source: Dataset, tag: BaseTag, number: int) -> None:
        """Note the names and identifiers of an element that goes, and of what is below it: they then stay nowhere."""
        vrs = standard.vrs(number)
        if number not in _NAMING and vrs not in (("PN",), ("SQ",)):
            return
        try:
            if vrs == ("SQ",) and source[tag].VR == "SQ":
                items, text = source[tag].value or (), ""
            else:
                items, text = (), reading.text_of(source, tag)
        except (ValueError, TypeError, LookupError, AttributeError, NotImplementedError):  # goes unread
            return
        for item in items:
            for below in list(item.keys()):
                self._learn(item, below, int(below))
        for part in text.split("\\"):
            if number in DATES:
                self.known.add_date(part)
            elif number in NUMBERS:
                self.known.add_number(part)
            else:
                besides = descriptors.vocabulary(technical=True) if number in NAMES else frozenset()
                self.known.add_name(part, besides)

    def _raw(self, source: Dataset, element: Any, step: Step) -> RawDataElement | None:
        """The element in its encoded form; None where its VR contradicts PS3.6."""
        if step.vrs == ("SQ",):
            element = source[element.tag]
            return element if element.VR == "SQ" else None
        if element.is_raw and (element.VR == "UN" or (element.VR is None and not self._implicit)):
            # unknown to a sender, too long for its length field, or an implicit item in an explicit data set
            element = element._replace(VR=step.vrs[0])
        if element.VR == "SQ" or (element.VR is not None and not _agrees(element.VR, step.vrs)):
            return None
        if element.is_raw:
            return element
        implicit, little = source.original_encoding
        charset = source.original_character_set
        return encoding.raw(element, implicit=bool(implicit), little=little is not False, charset=charset)

    def _sequence(self, element: DataElement, step: Step, path: Path, charset: Any) -> DataElement:
        tag = int(element.tag)
        parent = standard.fold(tag)
        if step.op is not Op.SEQUENCE:
            self._note(path, tag, _DONE[step.op], step.rule)
        made: list[Dataset] = []
        if step.op is Op.DUMMY and _CODE_VALUE in self._profile.steps(self._iod, parent):
            made.append(header.code_item("REMOVED", "99FEDPACS", "Removed"))
        elif step.op is not Op.EMPTY:
            for index, item in enumerate(element.value):
                elements: dict[BaseTag, Any] = {}
                self.items(item, parent, (*path, (tag, index)), elements)
                kept = Dataset(elements, parent_encoding=charset)
                kept.set_original_encoding(*item.original_encoding, item.original_character_set)
                made.append(kept)
        return DataElement(element.tag, "SQ", Sequence(made))

    def _element(
        self, raw: RawDataElement, step: Step, path: Path, source: Dataset, elements: dict[BaseTag, Any]
    ) -> None:
        op, value = step.op, raw.value or b""
        if op is Op.KEEP:
            elements[raw.tag] = raw
            return
        if op in TEXT_OPS and value:
            elements[raw.tag] = raw  # keeps its place
            self._texts.append(_Text(elements, raw, step, path, source.original_character_set))
            return
        if op in _DONE:
            self._without(elements, raw, step.op, step, path, step.rule)
            return
        new: bytes | None = value
        done, rule = Done.CLEANED, Rule.VR
        if op is Op.PATIENT:
            new, done, rule = self._patient.pseudonym.encode(), Done.REPLACED, step.rule
        elif op is Op.PIXELS:
            new, rule = pixels.trimmed(source, value, undefined_length=raw.length == UNDEFINED_LENGTH), Rule.PIXELS
        elif not value:
            pass
        elif op is Op.UID:
            new, done, rule = self._uids(value), Done.REMAPPED, Rule.UID if step.rule is Rule.IOD else step.rule
        elif op is Op.DATE:
            new, rule = values.shift_date(value, self._patient.shift_days), Rule.DATE
        elif op is Op.DATETIME:
            new, rule = values.shift_datetime(value, self._patient.shift_days), Rule.DATE
        elif op is Op.TIME:
            new = value if values.is_time(value) else None
        elif op is Op.AGE:
            new, rule = values.limit_age(value), Rule.AGE
        elif op is Op.CHARSET:
            new = value if values.is_charset(value) else None
        self._store(elements, raw, step, path, new, done, rule)

    def _store(
        self,
        elements: dict[BaseTag, Any],
        raw: RawDataElement,
        step: Step,
        path: Path,
        new: bytes | None,
        done: Done,
        rule: Rule,
    ) -> None:
        value = raw.value or b""
        if new is None or (not new and value.strip(b" \0")):
            self._without(elements, raw, required(step.type), step, path, rule)
        elif new in (value, value.rstrip(b" \0")):
            elements[raw.tag] = raw
        else:
            self._note(path, int(raw.tag), done, rule)
            elements[raw.tag] = _replaced(raw, new, raw.VR or step.vrs[0])

    def _without(
        self, elements: dict[BaseTag, Any], raw: RawDataElement, op: Op, step: Step, path: Path, rule: Rule
    ) -> None:
        """Remove, empty or replace by a dummy."""
        if op is Op.EMPTY and not raw.value:
            elements[raw.tag] = raw
            return
        self._note(path, int(raw.tag), _DONE[op], rule)
        if op is not Op.REMOVE:
            vr = raw.VR or step.vrs[0]
            elements[raw.tag] = _replaced(raw, b"" if op is Op.EMPTY else values.dummy(vr), vr)

    def _uids(self, value: bytes) -> bytes:
        parts = value.decode("ascii", "replace").split("\\")
        return "\\".join(self.uid(part.strip(" \0")) for part in parts).encode()

    def _clean(self, text: _Text) -> bytes | None:
        """What stays of a text, in its encoded form."""
        op, value = text.step.op, text.raw.value or b""
        if op is Op.BULK:
            return None if self.known.found_in_bytes(value) else value
        if op is Op.NUMBER:
            return value if values.is_number(value) and not self._numbers_known(value) else None
        if op is Op.CODE and not values.is_code(value):
            return None
        decoded = _decoded(value, text.charset)
        parts = decoded.split("\\") if (text.raw.VR or text.step.vrs[0]) in _VALUES else [decoded]
        if op is Op.CODE:
            return value if descriptors.is_harmless_code(decoded, self.known) else None
        if op is Op.CODE_VALUE and descriptors.is_code_value(decoded.strip(), self.known):
            return value
        if text.raw.tag == _CODE_MEANING and decoded.strip().lower() in standard.code_meanings():
            return value
        technical = op in (Op.LABEL, Op.CODE_VALUE)
        cleaned = "\\".join(
            descriptors.clean(part, self.known, technical=technical, extra=self._profile.safe_words) for part in parts
        )
        if cleaned == decoded.strip():
            return value
        return cleaned.strip("\\").encode("ascii", "ignore")

    def _numbers_known(self, value: bytes) -> bool:
        """Whether a number of six digits or more is an identifier: shorter ones are counted and measured everywhere."""
        parts = (part.strip(" \0") for part in value.decode("ascii").split("\\"))
        return any(len(part) >= 6 and part.isdecimal() and self.known.is_word(part) for part in parts)

    def _note(self, path: Path, tag: int, done: Done, rule: Rule) -> None:
        self.record.append(Action(path, tag, done, rule))


def _unlisted(tag: int) -> Rule:
    if tag >> 16 & 1:
        return Rule.PRIVATE
    if not tag & 0xFFFF or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFC, 0xFFFE):
        return Rule.STRUCTURE
    return Rule.IOD


def _agrees(vr: str, allowed: tuple[str, ...]) -> bool:
    """Whether the VR in the data set is one that PS3.6 allows, or at least both are text or both are binary."""
    return vr in allowed or (vr in _TEXT_VRS) == (allowed[0] in _TEXT_VRS)


def _decoded(value: bytes, charset: Any) -> str:
    if value.isascii() and b"\x1b" not in value:
        return value.decode("ascii")
    return str(decode_bytes(value, convert_encodings(charset), TEXT_VR_DELIMS))


def _replaced(raw: RawDataElement, value: bytes, vr: str) -> RawDataElement:
    padded = values.pad(value, vr)
    undefined = raw.length == UNDEFINED_LENGTH  # encapsulated pixel data stay so
    length = UNDEFINED_LENGTH if undefined else len(padded)
    return RawDataElement(raw.tag, raw.VR, length, padded, raw.value_tell, raw.is_implicit_VR, raw.is_little_endian)
