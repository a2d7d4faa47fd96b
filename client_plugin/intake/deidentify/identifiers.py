"""What is known of the people and the order behind an instance, to be searched for in everything that stays.

A name or a number that one element gives away is not left in another: the Basic Profile removes
(0010,0010) and knows nothing of the same name in a description.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: A component of a name or an identifier shorter than this says too little and would hit too much.
_SHORTEST_NAME = 2
_SHORTEST_NUMBER = 4

_WORD = re.compile(r"[^\W_]+")


def normal(text: str) -> str:
    """Fold case, width and accents, so that MÜLLER, Müller and Muller are one name."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(c for c in decomposed if not unicodedata.combining(c))


class Identifiers:
    """The words and numbers that must not stay in an instance.

    Parameters
    ----------
    names : iterable of str
        Person names with their delimiters, institutions, addresses: each word counts.
    numbers : iterable of str
        Identifiers of the patient, the visit, the order: each counts as a whole, whatever its punctuation.
    dates : iterable of str
        Dates as DA: looked for in the usual orders and with the usual delimiters.
    """

    def __init__(self, names: Iterable[str] = (), numbers: Iterable[str] = (), dates: Iterable[str] = ()) -> None:
        self._words: set[str] = set()
        self._numbers: set[str] = set()
        for name in names:
            self._words.update(w for w in _WORD.findall(normal(name)) if len(w) >= _SHORTEST_NAME and not w.isdecimal())
        for number in numbers:
            squeezed = "".join(_WORD.findall(normal(number)))
            if len(squeezed) >= _SHORTEST_NUMBER:
                self._numbers.add(squeezed)
        for day in dates:
            if len(day) == 8 and day.isdecimal():
                year, month, of_month = day[:4], day[4:6], day[6:]
                self._numbers.update({day, of_month + month + year, month + of_month + year})

    def __bool__(self) -> bool:
        return bool(self._words or self._numbers)

    def is_word(self, word: str) -> bool:
        """Whether a single word, already ``normal``, is one of them."""
        return word in self._words or word in self._numbers

    def found_in(self, text: str) -> bool:
        """Whether any of them is in ``text``, as a word or, for a number, whatever stands between its digits."""
        words = _WORD.findall(normal(text))
        if not self._words.isdisjoint(words):
            return True
        squeezed = "".join(words)
        return any(number in squeezed for number in self._numbers)
