"""One recursive pass over every element of every nested item.

Elements are taken and given in their encoded form: what stays is never decoded and encoded again, so it stays byte for
byte. What tags and VRs alone decide is in a `Plan`; here are the elements whose values matter. Names and identifiers
are noted as they are met, and text is looked at last, when all of them are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag

from client_plugin.archive import reading
from client_plugin.intake.deidentify import encoding, header, learned, pixels, private, standard
from client_plugin.intake.deidentify.codes import Action, Done, Path, Rule
from client_plugin.intake.deidentify.encoding import UNDEFINED_LENGTH
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.outcomes import WITHOUT, Outcome, Outcomes, Value, Whose, settled
from client_plugin.intake.deidentify.patient import Patient
from client_plugin.intake.deidentify.plan import contradicts, plan
from client_plugin.intake.deidentify.profile import TEXT_OPS, Op, Profile, Step

_CODE_VALUE = 0x00080100
_TOO_SHORT = 2
"""Bytes of a binary value in which nobody's name is looked for: 16-bit numbers are most of them."""
_SEARCHED = TEXT_OPS | {Op.KEEP}
_NOBODY = Identifiers(shared=True)


class _Element(NamedTuple):
    """An element whose value decides, and where it stands."""

    elements: dict[BaseTag, Any]
    raw: RawDataElement
    value: Value
    path: Path


class Walk:
    """The pass over one instance.

    Attributes
    ----------
    record : list of Action
        What was done, complete after ``finish``.
    """

    def __init__(self, profile: Profile, outcomes: Outcomes, iod: str, patient: Patient, *, implicit: bool) -> None:
        self._profile = profile
        self._outcomes = outcomes
        self._iod = iod
        self._whose = Whose(patient.pseudonym, patient.shift_days, _NOBODY)
        self._implicit = implicit
        self._searched: list[_Element] = []
        self._lessons: set[learned.Lesson] = set()
        self.record: list[Action] = []

    def items(self, source: Dataset, parent: int, path: Path, elements: dict[BaseTag, Any]) -> None:
        """Put into ``elements`` what stays of ``source``, a data set or an item of the sequence ``parent``."""
        found = {int(tag): element for tag, element in source.items()}  # iterating over a Dataset would decode them
        vrs = tuple([element.VR for element in found.values()])
        todo = plan(self._profile, self._iod, parent, tuple(found), vrs, implicit=self._implicit)
        for tag in todo.learned:
            self._lessons.update(learned.lessons(source, found[tag]))
        self.record += (action._replace(path=path) for action in todo.removed) if path else todo.removed
        charset = reading.charset(source)
        long = []
        for tag, step in todo.kept:
            element = found[tag]
            if element.is_raw and len(element.value or b"") <= _TOO_SHORT:
                elements[element.tag] = element
            else:
                long.append((tag, step))
        for tag, step in [*long, *todo.others, *self._safe_private(source, todo.private, path)]:
            raw = self._raw(source, found[tag], step)
            if raw is None:
                self._note(path, tag, Done.REMOVED, Rule.VR)
            elif step.vrs == ("SQ",):
                elements[raw.tag] = self._sequence(source[raw.tag], step, path, source.original_character_set)
            else:
                value = Value(tag, raw.VR or step.vrs[0], raw.value or b"", step, charset)
                self._decide(_Element(elements, raw, value, path), source)
        if todo.private:
            for creator in {BaseTag(private.creator_of(tag)) for tag in elements if tag.is_private}:
                elements[creator] = source.get_item(creator)

    def finish(self) -> None:
        """Look at texts and long binary values, now that all names and identifiers are known."""
        whose = self._whose._replace(known=learned.identifiers(frozenset(self._lessons)))
        for element in self._searched:
            self._settle(element, self._outcomes.of(element.value, whose))

    def _safe_private(self, source: Dataset, tags: Iterable[int], path: Path) -> Iterator[tuple[int, Step]]:
        """Those of the private elements ``tags`` that the standard lists as safe, and what to do with them."""
        for tag in tags:
            vr = private.safe(source, tag)
            step = None if vr is None else self._profile.private_step(vr)
            if step is not None and step.op is not Op.REMOVE:
                yield tag, step
            else:
                self._note(path, tag, Done.REMOVED, Rule.PRIVATE if step is None else step.rule)

    def _raw(self, source: Dataset, element: Any, step: Step) -> RawDataElement | None:
        """The element in its encoded form; None where its VR contradicts PS3.6."""
        if step.vrs == ("SQ",):
            element = source[element.tag]
            return element if element.VR == "SQ" else None
        if element.is_raw and (element.VR == "UN" or (element.VR is None and not self._implicit)):
            # unknown to a sender, too long for its length field, or an implicit item in an explicit data set
            element = element._replace(VR=step.vrs[0])
        if contradicts(element.VR, step):
            return None
        return element if element.is_raw else self._encoded(source, element)

    def _encoded(self, source: Dataset, element: DataElement) -> RawDataElement:
        implicit, little = source.original_encoding
        charset = source.original_character_set
        return encoding.raw(element, implicit=bool(implicit), little=little is not False, charset=charset)

    def _sequence(self, element: DataElement, step: Step, path: Path, charset: Any) -> DataElement:
        tag = int(element.tag)
        parent = standard.fold(tag)
        if step.op is not Op.SEQUENCE:
            self._note(path, tag, WITHOUT[step.op], step.rule)
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

    def _decide(self, element: _Element, source: Dataset) -> None:
        value = element.value
        if value.step.op in _SEARCHED and value.value:
            element.elements[element.raw.tag] = element.raw  # keeps its place
            self._searched.append(element)
        elif value.step.op is Op.PIXELS:
            undefined = element.raw.length == UNDEFINED_LENGTH
            new = pixels.trimmed(source, value.value, undefined_length=undefined)
            self._settle(element, settled(value, new, Done.CLEANED, Rule.PIXELS))
        else:
            self._settle(element, self._outcomes.of(value, self._whose))

    def _settle(self, element: _Element, outcome: Outcome) -> None:
        tag, done = element.raw.tag, outcome.done
        if done is not None:
            self._note(element.path, element.value.tag, done, outcome.rule)
        if done is Done.REMOVED:
            element.elements.pop(tag, None)
        else:
            element.elements[tag] = element.raw if done is None else _replaced(element.raw, outcome.value)

    def _note(self, path: Path, tag: int, done: Done, rule: Rule) -> None:
        self.record.append(Action(path, tag, done, rule))


def _replaced(raw: RawDataElement, value: bytes) -> RawDataElement:
    undefined = raw.length == UNDEFINED_LENGTH  # encapsulated pixel data stay so
    length = UNDEFINED_LENGTH if undefined else len(value)
    return RawDataElement(raw.tag, raw.VR, length, value, raw.value_tell, raw.is_implicit_VR, raw.is_little_endian)
