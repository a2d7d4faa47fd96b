"""What the tags and VRs of a data set alone decide, before any value of it is looked at.

The slices of a series and the frames of an enhanced multi-frame object have the same attributes: what happens to them
is decided once. Most elements of an instance, its private ones above all, are then done with.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from client_plugin.intake.deidentify import learned, standard
from client_plugin.intake.deidentify.codes import Action, Done, Rule
from client_plugin.intake.deidentify.profile import Op, Profile, Step

_NOT_RETAINED = {Op.REMOVE, Op.EMPTY, Op.DUMMY, Op.PATIENT}
_TEXT_VRS = frozenset(
    ["AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UR", "UT"]
)
_SMALL = 1000  # elements of a data set, at most, whose plan is remembered: hostile ones may have millions


class Plan(NamedTuple):
    """What happens to the elements of a data set or an item, by their tags.

    Attributes
    ----------
    kept
        They stay as they are, unless they are long.
    removed
        What is recorded of those that go; their paths are those of top-level elements.
    learned
        They go or are emptied and may tell names and identifiers, which must not stay elsewhere.
    private
        Their private creators decide.
    others
        Their values decide, under a step that is not to remove them.
    """

    kept: tuple[tuple[int, Step], ...]
    removed: tuple[Action, ...]
    learned: tuple[int, ...]
    private: tuple[int, ...]
    others: tuple[tuple[int, Step], ...]


def plan(
    profile: Profile, iod: str, parent: int, tags: tuple[int, ...], vrs: tuple[str | None, ...], *, implicit: bool
) -> Plan:
    """The plan for a data set, or an item of the sequence ``parent``, of an IOD.

    Parameters
    ----------
    tags, vrs
        Of its elements, as they were read: the VR is None where the encoding has none.
    implicit
        Whether the instance is in implicit VR.
    """
    return (_remembered if len(tags) <= _SMALL else _plan)(profile, iod, parent, tags, vrs, implicit=implicit)


def _plan(
    profile: Profile, iod: str, parent: int, tags: tuple[int, ...], vrs: tuple[str | None, ...], *, implicit: bool
) -> Plan:
    steps = profile.steps(iod, parent)
    kept: list[tuple[int, Step]] = []
    removed: list[Action] = []
    learnt: list[int] = []
    private: list[int] = []
    others: list[tuple[int, Step]] = []
    for tag, vr in zip(tags, vrs, strict=True):
        if tag & 0x10000 and profile.retains_private:
            private.append(tag)
            continue
        step = None if tag & 0x10000 else steps.get(tag) or steps.get(standard.fold(tag))
        if (step is None or step.op in _NOT_RETAINED) and learned.tells(tag):  # what is retained may stand elsewhere
            learnt.append(tag)
        if step is None:
            removed.append(Action((), tag, Done.REMOVED, _unlisted(tag)))
        elif (rule := _refused(vr, step)) is not None:
            removed.append(Action((), tag, Done.REMOVED, rule))
        elif step.op is Op.KEEP and vr != "UN" and (vr is not None or implicit):  # else its VR has to be mended
            kept.append((tag, step))
        else:
            others.append((tag, step))
    return Plan(tuple(kept), tuple(removed), tuple(learnt), tuple(private), tuple(others))


_remembered = lru_cache(maxsize=256)(_plan)


def _refused(vr: str | None, step: Step) -> Rule | None:
    if step.op is Op.REMOVE:
        return step.rule
    if vr != "UN" and step.vrs != ("SQ",) and contradicts(vr, step):  # those two are seen when they are decoded
        return Rule.VR
    return None


def contradicts(vr: str | None, step: Step) -> bool:
    """Whether a VR is none that PS3.6 allows, nor at least text where that is text, or binary where that is binary."""
    if vr is None or vr in step.vrs:
        return False
    return vr == "SQ" or (vr in _TEXT_VRS) != (step.vrs[0] in _TEXT_VRS)


def _unlisted(tag: int) -> Rule:
    if tag >> 16 & 1:
        return Rule.PRIVATE
    if not tag & 0xFFFF or tag >> 16 in (0x0000, 0x0002, 0x0004, 0xFFFC, 0xFFFE):
        return Rule.STRUCTURE
    return Rule.IOD
