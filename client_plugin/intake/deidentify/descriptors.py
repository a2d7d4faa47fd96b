"""Clean Descriptors: the words of a description that cannot identify anybody stay, the others go.

A list of what is dangerous is never complete; a list of what is harmless can be. It holds the words of the coded
concepts that pydicom ships (SNOMED CT, DCM, RadLex meanings in the context groups of PS3.16), of the names of the
attributes of PS3.6, and what protocols are written with.
"""

from __future__ import annotations

import re
from functools import cache

from pydicom.datadict import dictionary_description
from pydicom.sr.codedict import codes

from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.identifiers import Identifiers, normal

_WORD = re.compile(r"[^\W_]+")
_PLAIN_NUMBER = re.compile(r"\d{1,3}|\d{1,2}[a-z]{1,3}|[a-z]\d{1,2}[a-z]?")
_SEPARATORS = re.compile(r"([^\W_]+)")
#: A telephone number, an identifier in groups: six digits or more with delimiters between them; and short dates.
_LONG_NUMBER = re.compile(r"\d(?:[ ./:()-]{0,2}\d){5,}|\d{1,2}[./-]\d{1,2}[./-]\d\d")
#: What may stand between two words that stay; anything else becomes a space.
_KEPT_BETWEEN = re.compile(r"[ _.,+/()-]{1,3}")


@cache
def vocabulary() -> frozenset[str]:
    """The words that may stay, in ``identifiers.normal`` form."""
    words = set(standard.protocol_words())
    for scheme in codes.schemes():
        for keyword in getattr(codes, scheme).dir():  # such as "LeftUpperLobeOfLung"
            words.update(w.lower() for w in re.findall(r"[A-Z]?[a-z]+", keyword) if len(w) > 1)
    for tag in standard.confidentiality():
        if standard.vrs(tag):
            words.update(w for w in _WORD.findall(normal(dictionary_description(tag))) if len(w) > 1)
    return frozenset(words)


def clean(text: str, known: Identifiers) -> str:
    """Keep the words of ``text`` that are in the vocabulary, and short numbers; none of the ``known`` identifiers.

    Examples
    --------
    >>> clean("CT CHEST w contrast for Mrs. Mustermann, 12.03.1957", Identifiers(dates=["19570312"]))
    'CT CHEST w contrast for'
    """
    numbers = not known.found_in(text)  # an identifier may be written in pieces: no number stays beside one
    words = vocabulary()
    kept: list[str] = []
    gap = ""
    for piece in _SEPARATORS.split(_LONG_NUMBER.sub(" ", text)):
        if not piece or not _WORD.match(piece):
            gap = piece if not kept or gap == "" else " "
            continue
        word = normal(piece)
        safe = (word in words or (numbers and _PLAIN_NUMBER.fullmatch(word) is not None)) and not known.is_word(word)
        if not safe:
            gap = " "
            continue
        if kept:
            kept.append(gap if _KEPT_BETWEEN.fullmatch(gap) else " ")
        kept.append(piece)
        gap = ""
    return "".join(kept)


def is_telling(text: str) -> bool:
    """Whether a technical text has something in it that no device writes: a caret, an address, a long number."""
    return "^" in text or "@" in text or _LONG_NUMBER.search(text) is not None
