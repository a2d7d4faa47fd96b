import pytest

from client_plugin.intake.deidentify.descriptors import clean, is_telling
from client_plugin.intake.deidentify.identifiers import Identifiers

KNOWN = Identifiers(names=["Mustermann^Erika"], numbers=["PID-4711-08"], dates=["19570312"])


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
    assert clean("left hand", Identifiers(names=["Hand^Left"])) == ""


@pytest.mark.parametrize("text", ["MÜLLER", "Mueller, Müller", "ＭÜＬＬＥＲ", "mu\u0308ller"])
def test_spelling_does_not_hide_a_name(text: str) -> None:
    assert Identifiers(names=["Müller"]).found_in(text)


@pytest.mark.parametrize("text", ["12.03.1957", "03/12/1957", "1957-03-12", "pid471108", "PID 4711 08"])
def test_punctuation_does_not_hide_a_number(text: str) -> None:
    assert KNOWN.found_in(text)


def test_technical_text() -> None:
    assert not is_telling("SOMATOM Definition AS+ B30f 10.2.1")
    assert is_telling("Mustermann^Erika")
    assert is_telling("0171-2345678")
