"""Figures as people read them; shared by the report, the live display and the summary."""

from __future__ import annotations

_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def number(count: int) -> str:
    """``3`` is ``three``; from thirteen on, digits with a thin space between thousands."""
    return _SMALL[count] if 0 <= count < len(_SMALL) else grouped(count)


def plural(count: int, noun: str) -> str:
    """``1 study``, ``2 studies``, ``1 204 images``."""
    if count == 1:
        return f"1 {noun}"
    stem = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{grouped(count)} {stem}"


def grouped(count: int) -> str:
    """Digits with a thin space between thousands, as the SI brochure has it."""
    return f"{count:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(count: float) -> str:
    """Bytes in decimal units: ``131 kB``, ``5.1 GB``."""
    if count < 1000:
        return f"{count:.0f} B"
    for unit in ("kB", "MB", "GB", "TB"):
        count /= 1000
        if count < 999.5 or unit == "TB":
            break
    return f"{count:.3g} {unit}"


def duration(seconds: float) -> str:
    """``4.2 s`` below ten seconds, ``58 s``, ``3 min 20 s``, ``1 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def score(value: float) -> str:
    """A balanced accuracy with three places and no leading zero, as tables of results print it."""
    return f"{value:.3f}".removeprefix("0")


def difference(value: float) -> str:
    """A signed difference of two scores, with a real minus."""
    return ("+" if value >= 0 else "\N{MINUS SIGN}") + score(abs(value))


def listing(words: list[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
