"""Identifiers that occur nowhere else, in the scripts of the world, and values of each VR that hold one."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

SCRIPTS: dict[str, tuple[str | list[str], str]] = {
    "ascii": ("ISO_IR 6", ""),
    "latin": ("ISO_IR 100", "äöüéèçñøå"),
    "cyrillic": ("ISO_IR 144", "абвгдежзиклмнопрстуфхцчшэюя"),
    "greek": ("ISO_IR 126", "αβγδεζηθικλμνξοπρστυφχψω"),
    "japanese": (["", "ISO 2022 IR 87"], "山田太郎鈴木佐藤高橋渡辺伊東中村小林加吉松井清水森池橋阿部石川前"),
    "korean": (["", "ISO 2022 IR 149"], "김이박최정강조윤장임한오서신권황안송류홍길동민준지훈현우성"),
    "gb18030": ("GB18030", "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧"),
    "utf8": ("ISO_IR 192", "عبدالرحمن王小明김철수Ωмир"),
}
_CONSONANTS, _VOWELS = "bdfgklmnprstvzjw", "aeiou"


@dataclass(frozen=True)
class Plant:
    """One planted identifier: where, and what to look for."""

    where: str
    marker: str


class Identifiers:
    """Draws identifiers and keeps what was drawn.

    Attributes
    ----------
    plants : list of Plant
        What was planted so far.
    """

    def __init__(self, rng: random.Random, script: str) -> None:
        self.rng = rng
        self.script = script
        self.charset, self.letters = SCRIPTS[script]
        self.plants: list[Plant] = []
        self.used: set[str] = set()
        self.noted: set[str] = set()
        self.surname, self.mrn = self.word(), str(rng.randrange(10_000_000, 99_999_999))
        self.ascii_surname = self.ascii_word()

    def ascii_word(self) -> str:
        while True:
            word = "".join(self.rng.choice(_CONSONANTS) + self.rng.choice(_VOWELS) for _ in range(4)).capitalize()
            if word not in self.used:
                self.used.add(word)
                return word

    def word(self) -> str:
        """A name in the instance's script."""
        if not self.letters:
            return self.ascii_word()
        while True:
            word = "".join(self.rng.choice(self.letters) for _ in range(5))
            if self.script == "latin":
                word = self.ascii_word()[:4] + word[:3]
            if word not in self.used:
                self.used.add(word)
                return word

    def number(self) -> str:
        while (number := str(self.rng.randrange(1_000_000, 9_999_999))) in self.used:
            pass
        self.used.add(number)
        return number

    def date(self) -> str:
        while (day := f"{date(1930, 1, 1) + timedelta(days=self.rng.randrange(25_000)):%Y%m%d}") in self.used:
            pass
        self.used.add(day)
        return day

    def uid(self) -> str:
        return f"1.2.826.0.1.3680043.9.7433.{self.number()}.{self.number()}"

    def note(self, where: str, marker: str) -> None:
        """Count a plant; the patient's own name and number once, however often they are planted."""
        if marker not in self.noted:
            self.noted.add(marker)
            self.plants.append(Plant(where, marker))

    def value(self, vr: str, where: str, type_: str) -> Any:
        if vr == "PN":
            name = self.word()
            self.note(where, name)
            if self.script in ("japanese", "korean", "gb18030", "utf8"):
                roman = self.ascii_word()
                self.note(f"{where} alphabetic", roman)
                return f"{roman}^Taro={name}^{name[:2]}"
            return f"{name}^{name[:3]}"
        if vr in ("LO", "SH"):
            name = self.word()
            self.note(where, name)
            return name[:16] if vr == "SH" else f"chest {name}"
        if vr in ("ST", "LT", "UT", "UC"):
            name, phone, day = self.word(), f"0171-{self.number()}", self.date()
            german = f"{day[6:]}.{day[4:6]}.{day[:4]}"
            self.note(f"{where} name", name)
            self.note(f"{where} telephone", phone)
            self.note(f"{where} date", german)
            return f"Discussed with Dr. {name} on {german}, call {phone}"
        if vr == "UI":
            uid = self.uid()
            self.note(where, uid)
            return uid
        if vr == "DA":
            day = self.date()
            self.note(where, day)
            return day
        if vr == "DT":
            day = self.date()
            self.note(where, day)
            return f"{day}101112.123456"
        if vr in ("AE", "UR"):
            name = self.ascii_word()
            self.note(where, name)
            return name if vr == "AE" else f"http://{name.lower()}.example/x"
        if vr in ("OB", "OW", "UN"):
            name = self.ascii_word()
            self.note(where, name)
            return name.encode().ljust(10)
        if vr == "CS" and type_ == "3" and self.rng.random() < 0.3:
            self.note(where, self.ascii_surname)
            return self.ascii_surname.upper()
        if vr in ("IS", "DS") and type_ == "3" and self.rng.random() < 0.3:
            self.note(where, self.mrn)
            return self.mrn
        return {"TM": "101112", "AS": "045Y", "CS": "OTHER", "IS": "1", "DS": "1.5", "AT": 0x00100010}.get(vr, 1)
