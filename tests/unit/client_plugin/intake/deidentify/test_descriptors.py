from collections.abc import Sequence

import pytest

from client_plugin.intake.deidentify.descriptors import clean, is_code_value
from client_plugin.intake.deidentify.identifiers import Identifiers


def identifiers(names: Sequence[str] = (), numbers: Sequence[str] = (), dates: Sequence[str] = ()) -> Identifiers:
    known = Identifiers()
    for add, values in ((known.add_name, names), (known.add_number, numbers), (known.add_date, dates)):
        for value in values:
            add(value)
    return known


KNOWN = identifiers(names=["Mustermann^Erika"], numbers=["PID-4711-08"], dates=["19570312"])


@pytest.mark.parametrize(
    "text",
    [
        "CT chest with contrast",
        "t2_tse_sag 3mm",
        "Left upper lobe of lung",
        "GTV-1",
        "kidney_right",
        "Axial T1 post",
        "vertebrae_L3",
    ],
)
def test_protocols_and_anatomy_stay(text: str) -> None:
    assert clean(text, KNOWN) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("CT chest Mustermann", "CT chest"),
        ("CT chest, ERIKA M.", "CT chest"),
        ("Sent by Dr. Zwiebelfisch for CT", "Sent by for CT"),
        ("chest 12.03.1957", "chest"),
        ("chest 5.6.61, tel. 0171-2345678", "chest"),
        ("liver PID 4711 08", "liver"),
        ("head e.m@example.org", "head"),
    ],
)
def test_everything_else_goes(text: str, left: str) -> None:
    assert clean(text, KNOWN) == left


def test_a_known_word_goes_even_if_it_is_harmless() -> None:
    assert clean("left hand", identifiers(names=["Hand^Left"])) == ""


@pytest.mark.parametrize("text", ["MÜLLER", "Mueller", "muller", "ＭÜＬＬＥＲ", "mu\u0308ller"])
def test_spelling_does_not_hide_a_name(text: str) -> None:
    assert identifiers(names=["Müller"]).found_in(text)


@pytest.mark.parametrize("text", ["12.03.1957", "03/12/1957", "1957-03-12", "pid471108", "PID 4711 08"])
def test_punctuation_does_not_hide_a_number(text: str) -> None:
    assert KNOWN.found_in(text)


@pytest.mark.parametrize(
    "text", ["SOMATOM Definition AS+", "B30f", "GE MEDICAL SYSTEMS", "syngo CT VA50A", "*tfl3d1_16"]
)
def test_what_devices_write_stays_in_technical_text(text: str) -> None:
    assert clean(text, KNOWN, technical=True) == text


def test_a_site_adds_its_own_words() -> None:
    assert clean("Ganzkörper CT", KNOWN, extra=frozenset({"ganzkorper"})) == "Ganzkörper CT"


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("113100", True),
        ("T-A0100", True),
        ("SCT", True),
        ("RID1362", True),
        ("99FEDPACS", False),
        ("ZWIEBELFISCH", False),
        ("Erika", False),
        ("PID-4711-08", False),
    ],
)
def test_codes(text: str, is_code: bool) -> None:
    assert is_code_value(text, KNOWN) is is_code
