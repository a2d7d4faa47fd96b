"""What is known of the people and the order behind an instance, to be searched for in everything that stays.

A name or a number that one element gives away is not left in another: the Basic Profile removes (0010,0010) and knows
nothing of the same name in a description.
"""

from __future__ import annotations

import re
import unicodedata
from datetime import date

#: A component of a name or an identifier shorter than this says too little and would hit too much.
_SHORTEST_NAME = 2
_SHORTEST_NUMBER = 4

_WORD = re.compile(r"[^\W_]+")
_IDEOGRAPHS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3\uf900-\ufaff]")
_LETTERS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "ø": "oe", "æ": "ae", "å": "aa"}


def normal(text: str) -> str:
    """Fold case, width and accents, so that MÜLLER, Müller and Muller are one name."""
    if text.isascii():
        return text.lower()
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    composed = unicodedata.normalize("NFC", "".join(c for c in decomposed if not unicodedata.combining(c)))
    return composed.lower()  # again: № becomes No


def _spellings(word: str) -> set[str]:
    """A word as it may be written without its accents: Müller, Muller, Mueller."""
    composed = unicodedata.normalize("NFC", unicodedata.normalize("NFKC", word).casefold())
    return {normal(composed), normal("".join(_LETTERS.get(c, c) for c in composed))}


class Identifiers:
    """The words and numbers that must not stay in an instance.

    Parameters
    ----------
    shared
        Whether it is one object for all instances that tell the same, so that outcomes may be remembered by it.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self.shared = shared
        self._words: set[str] = set()
        self._pieces: set[str] = set()
        """Identifiers without their punctuation, and names in scripts that put no space between words."""

    def add_name(self, text: str, besides: frozenset[str] = frozenset()) -> None:
        """A person's name with its delimiters, an institution, an address: each word counts but those ``besides``."""
        for word in _WORD.findall(text):
            if _IDEOGRAPHS.search(word):
                self._pieces.add(normal(word))
            elif len(word) >= _SHORTEST_NAME and not word.isdecimal():
                self._words.update(_spellings(word) - besides)

    def add_number(self, text: str) -> None:
        """An identifier of the patient, the visit, the order: it counts as a whole, whatever its punctuation."""
        squeezed = "".join(_WORD.findall(normal(text)))
        if len(squeezed) >= _SHORTEST_NUMBER:
            self._pieces.add(squeezed)

    def add_date(self, text: str) -> None:
        """A DA: it counts in the usual orders, with any delimiters."""
        try:
            day = date(int(text[:4]), int(text[4:6]), int(text[6:8]))
        except ValueError:
            return
        forms = ("%Y%m%d", "%d%m%Y", "%m%d%Y", "%d%b%Y", "%d%B%Y", "%B%d%Y", "%d%m%y", "%d%b%y")
        self._pieces.update(day.strftime(form).lower() for form in forms)
        self._pieces.add(f"{day.day}{day.month:02}{day.year}")

    def is_word(self, word: str) -> bool:
        """Whether a single word, already ``normal``, is one of them."""
        return word in self._words or word in self._pieces

    def found_in_bytes(self, data: bytes) -> bool:
        """Whether any of them, of four letters or digits at least, is spelled out in ``data``."""
        lowered = data.lower()
        return any(len(w) >= _SHORTEST_NUMBER and w.encode() in lowered for w in (*self._words, *self._pieces))

    def found_in(self, text: str) -> bool:
        """Whether any of them is in ``text``, as a word or, for a number, whatever stands between its digits."""
        words = _WORD.findall(normal(text))
        if not self._words.isdisjoint(words):
            return True
        squeezed = "".join(words)
        return any(piece in squeezed for piece in self._pieces)
