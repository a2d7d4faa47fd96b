"""Clean Descriptors: the words of a text that cannot identify anybody stay, the others go.

A list of what is dangerous is never complete; a list of what is harmless can be. ``generate.py`` says where its words
come from; a site adds its own in its configuration.
"""

from __future__ import annotations

import re
from functools import cache

from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.identifiers import Identifiers, normal

_WORD = re.compile(r"[^\W_]+")
_SPLIT = re.compile(r"([^\W_]+)")
#: Three digits at most, and what protocols write with a digit: 3mm, t2w, l3, b50f.
_SHORT = re.compile(r"\d{1,3}|\d{1,2}[a-z]{1,2}|[a-z]\d{1,2}[a-z]?|fdi\d{2,3}")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
#: What devices write: a letter or two with a version or a setting.
_SETTING = re.compile(r"\d{1,4}[a-z]{0,2}|[a-z]{1,2}\d{1,3}[a-z]?\d?|[a-z]{1,4}\d{1,2}[a-z]{0,3}\d{0,2}[a-z]?")
#: A telephone number, an identifier in groups: six digits or more with delimiters between them; and short dates.
_LONG_NUMBER = re.compile(r"\d(?:[ ./:()-]{0,2}\d){5,}|\d{1,2}[./-]\d{1,2}[./-]\d\d")
_ADDRESS = re.compile(r"\S+@\S+|\w+://\S+")
#: What may stand between two words that stay; anything else becomes a space.
_BETWEEN = re.compile(r"[ _.,+/()*:;=-]{1,3}")
_CODE = re.compile(r"[A-Z0-9]+(?:[.:-][A-Z0-9]+)*")
_LONGEST_CODE_WORD = 5


@cache
def vocabulary(*, technical: bool) -> frozenset[str]:
    """The words that may stay, in ``identifiers.normal`` form; with those of devices if ``technical``."""
    tables = ("concept_words", "protocol_words", "device_words")
    return standard.words(*(tables if technical else tables[:2]))


def clean(text: str, known: Identifiers, *, technical: bool = False, extra: frozenset[str] = frozenset()) -> str:
    """Keep the words of ``text`` that are in the vocabulary, and short numbers; none of the ``known`` identifiers.

    Parameters
    ----------
    technical : bool
        A text that a device writes: makes, models, kernels, versions stay as well.
    extra : frozenset of str
        Words that the site has found harmless, in ``identifiers.normal`` form.

    Examples
    --------
    >>> clean("CT CHEST w contrast for Mrs. Mustermann, 12.03.1957", Identifiers())
    'CT CHEST w contrast for'
    """
    numbers = not known.found_in(text)  # an identifier may be written in pieces: no number stays beside one
    short = _SETTING if technical else _SHORT
    words = vocabulary(technical=technical)
    kept: list[str] = []
    gap: str | None = None
    for piece in _SPLIT.split(_LONG_NUMBER.sub(" ", _ADDRESS.sub(" ", text))):
        if not _WORD.match(piece):
            gap = piece if gap is None else " "
            continue
        word = normal(piece)
        safe = word in words or word in extra or (numbers and short.fullmatch(word) is not None)
        if not safe and len(parts := _CAMEL.findall(piece)) > 1:  # SpinalCord
            safe = all(len(part) > 2 and part.lower() in words for part in parts)
        if not safe or known.is_word(word):
            gap = " "
            continue
        if gap is not None and _BETWEEN.fullmatch(gap) and (kept or not gap.isspace()):
            kept.append(gap)
        elif kept:
            kept.append(" ")
        kept.append(piece)
        gap = None
    if kept and gap is not None and _BETWEEN.fullmatch(gap):
        kept.append(gap.rstrip())
    return "".join(kept)


def is_harmless_code(text: str, known: Identifiers) -> bool:
    """Whether a code string of a CS names none of the ``known``.

    A patient called Hand or Long does not make a defined term of the standard an identifier.
    """
    words = vocabulary(technical=True)
    return not any(known.is_word(w) and w not in words for w in _WORD.findall(normal(text)))


def is_code_value(text: str, known: Identifiers) -> bool:
    """Whether a Code Value or a Coding Scheme Designator looks like one, rather than like somebody's name.

    Upper case letters and digits; letters alone only where they are few, as in ``SCT``.
    """
    if _CODE.fullmatch(text) is None or known.found_in(text):
        return False
    return all(len(run) <= _LONGEST_CODE_WORD for run in re.findall(r"[A-Z]+", text))
