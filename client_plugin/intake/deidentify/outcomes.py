"""What becomes of an element whose value decides: pure functions of the value, the step, and whose instance it is.

The slices of a series have most of their values in common, so outcomes are remembered.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.uid import UID_dictionary
from pydicom.valuerep import TEXT_VR_DELIMS

from client_plugin.intake.deidentify import descriptors, standard, values
from client_plugin.intake.deidentify.codes import Done, Option, Rule
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.profile import TEXT_OPS, Op, Profile, Step, required

WITHOUT = {Op.REMOVE: Done.REMOVED, Op.EMPTY: Done.EMPTIED, Op.DUMMY: Done.REPLACED}
"""The operations that leave nothing of a value, and what is recorded of them."""
_CODE_MEANING = 0x00080104
_VALUES = frozenset({"SH", "LO", "UC", "CS"})
"""VRs in which a backslash separates values (PS3.5 6.4)."""
_WHY = {Op.NUMBER: Rule.VR, Op.CODE: Rule.VR, Op.BULK: Rule.IDENTIFIER}
"""Why a text changes; of all others since they are descriptors."""
_SHORT = 256  # bytes of a value, at most, that is remembered


class Value(NamedTuple):
    """An element by itself.

    Attributes
    ----------
    tag, vr
        Its VR is PS3.6's where the encoding has none.
    value
        As it is encoded.
    step
        What is to be done with it.
    charset
        Specific Character Set where it stands, see `reading.charset`.
    """

    tag: int
    vr: str
    value: bytes
    step: Step
    charset: str | tuple[str, ...]


class Whose(NamedTuple):
    """What an outcome depends on besides the value: the patient of the instance, and what must not stay in it."""

    pseudonym: str
    shift_days: int
    known: Identifiers


class Outcome(NamedTuple):
    """What was done to an element, under which rule; None: it stays as it is. And its new value, padded."""

    done: Done | None
    rule: Rule
    value: bytes = b""


class Outcomes:
    """The outcomes under one profile with one site's keys."""

    def __init__(self, profile: Profile, keyed: Keyed) -> None:
        self._keyed = keyed
        self._safe_words = profile.safe_words
        self._retains_uids = Option.RETAIN_UIDS in profile.options
        self._remembered = lru_cache(maxsize=1024)(self._decide)

    def of(self, value: Value, whose: Whose) -> Outcome:
        """What becomes of ``value``, which is no sequence and no pixel data."""
        remembered = len(value.value) <= _SHORT and whose.known.shared
        return (self._remembered if remembered else self._decide)(value, whose)

    def uid(self, original: str) -> str:
        """Replace a UID, unless the standard registers it (then it names a class or a scheme) or UIDs are retained."""
        if not original or self._retains_uids or original in UID_dictionary:
            return original
        return self._keyed.uid(original)

    def _decide(self, it: Value, whose: Whose) -> Outcome:
        op, value, step = it.step.op, it.value, it.step
        if op in WITHOUT:
            return _without(it, op, step.rule)
        if op is Op.PATIENT:
            return settled(it, whose.pseudonym.encode(), Done.REPLACED, step.rule)
        if not value:
            return Outcome(None, step.rule)
        if op is Op.UID:
            return settled(it, self._uids(value), Done.REMAPPED, Rule.UID if step.rule is Rule.IOD else step.rule)
        new, rule = None, Rule.VR
        if op in TEXT_OPS:
            new, rule = clean(it, whose.known, self._safe_words), _WHY.get(op, Rule.DESCRIPTOR)
        elif op is Op.DATE:
            new, rule = values.shift_date(value, whose.shift_days), Rule.DATE
        elif op is Op.DATETIME:
            new, rule = values.shift_datetime(value, whose.shift_days), Rule.DATE
        elif op is Op.AGE:
            new, rule = values.limit_age(value), Rule.AGE
        elif op is Op.TIME:
            new = value if values.is_time(value) else None
        elif op is Op.CHARSET:
            new = value if values.is_charset(value) else None
        elif op is Op.KEEP:
            return self._numbers(it, whose.known)
        else:
            raise ValueError(f"{op!r} is not decided by a value alone")
        return settled(it, new, Done.CLEANED, rule)

    @staticmethod
    def _numbers(it: Value, known: Identifiers) -> Outcome:
        size = values.SIZES.get(it.vr)
        if size is None:
            return Outcome(None, it.step.rule)
        if len(it.value) % size:
            return _without(it, required(it.step.type), Rule.VR)
        return settled(it, None if known.found_in_bytes(it.value) else it.value, Done.CLEANED, Rule.IDENTIFIER)

    def _uids(self, value: bytes) -> bytes:
        parts = value.decode("ascii", "replace").split("\\")
        return "\\".join(self.uid(part.strip(" \0")) for part in parts).encode()


def settled(it: Value, new: bytes | None, done: Done, rule: Rule) -> Outcome:
    """The outcome where ``new`` is what stays: None, or nothing, leaves what the attribute's Type asks for."""
    if new is None or (not new and it.value.strip(b" \0")):
        return _without(it, required(it.step.type), rule)
    if new in (it.value, it.value.rstrip(b" \0")):
        return Outcome(None, rule)
    return Outcome(done, rule, values.pad(new, it.vr))


def _without(it: Value, op: Op, rule: Rule) -> Outcome:
    if op is Op.EMPTY and not it.value:
        return Outcome(None, rule)
    return Outcome(WITHOUT[op], rule, values.pad(values.dummy(it.vr), it.vr) if op is Op.DUMMY else b"")


def clean(it: Value, known: Identifiers, safe_words: frozenset[str]) -> bytes | None:
    """What stays of one of the `TEXT_OPS`; None if nothing does.

    Parameters
    ----------
    known
        Identifiers that must not stay.
    safe_words
        Words that the site keeps besides those of the shipped vocabulary.
    """
    op, value = it.step.op, it.value
    if op is Op.BULK:
        return None if known.found_in_bytes(value) else value
    if op is Op.NUMBER:
        return value if values.is_number(value) and not _numbers_known(value, known) else None
    if op is Op.CODE and not values.is_code(value):
        return None
    decoded = _decoded(it)
    if op is Op.CODE:
        return value if descriptors.is_harmless_code(decoded, known) else None
    if op is Op.CODE_VALUE and descriptors.is_code_value(decoded.strip(), known):
        return value
    if it.tag == _CODE_MEANING and decoded.strip().lower() in standard.code_meanings():
        return value
    technical = op in (Op.LABEL, Op.CODE_VALUE)
    parts = decoded.split("\\") if it.vr in _VALUES else [decoded]
    cleaned = "\\".join(descriptors.clean(part, known, technical=technical, extra=safe_words) for part in parts)
    if cleaned == decoded.strip():
        return value
    return cleaned.strip("\\").encode("ascii", "ignore")


def _numbers_known(value: bytes, known: Identifiers) -> bool:
    """Whether a number of six digits or more is an identifier: shorter ones are counted and measured everywhere."""
    parts = (part.strip(" \0") for part in value.decode("ascii").split("\\"))
    return any(len(part) >= 6 and part.isdecimal() and known.is_word(part) for part in parts)


def _decoded(it: Value) -> str:
    if it.value.isascii() and b"\x1b" not in it.value:
        return it.value.decode("ascii")
    charset = it.charset if isinstance(it.charset, str) else list(it.charset)
    return str(decode_bytes(it.value, convert_encodings(charset), TEXT_VR_DELIMS))
