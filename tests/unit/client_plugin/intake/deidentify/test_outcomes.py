import pytest

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Profile
from client_plugin.intake.deidentify.codes import Done, Rule
from client_plugin.intake.deidentify.identifiers import Identifiers
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.outcomes import Outcome, Outcomes, Value, Whose, settled
from client_plugin.intake.deidentify.profile import Op, Step

from .conftest import FixedKeys


@pytest.fixture
def outcomes(keys: FixedKeys) -> Outcomes:
    return Outcomes(Profile.from_config(DeidentificationConfig()), Keyed(keys))


def value(op: Op, vr: str, encoded: bytes, type_: str = "3", charset: str | tuple[str, ...] = "iso8859") -> Value:
    return Value(0x00081030, vr, encoded, Step(op, Rule.TABLE, (vr,), type_), charset)


def whose(name: str = "", days: int = -10) -> Whose:
    known = Identifiers(shared=True)
    known.add_name(name)
    return Whose("PABC", days, known)


def test_what_is_remembered_of_one_patient_is_no_other_ones(outcomes: Outcomes) -> None:
    day, text = value(Op.DATE, "DA", b"20240310"), value(Op.TEXT, "LO", b"chest hand ")
    for _ in range(2):
        assert outcomes.of(day, whose(days=-10)).value == b"20240229"
        assert outcomes.of(day, whose(days=-70)).value == b"20231231"
        assert outcomes.of(text, whose("Hand^Anna")) == Outcome(Done.CLEANED, Rule.DESCRIPTOR, b"chest ")
        assert outcomes.of(text, whose("Chest^Bob")).value == b"hand"
        assert outcomes.of(text, whose()).done is None
        assert outcomes.of(value(Op.PATIENT, "LO", b"4711"), whose()).value == b"PABC"


def test_one_value_in_two_character_sets_is_two_texts(outcomes: Outcomes) -> None:
    known = Identifiers(shared=True)
    known.add_name("тест")
    encoded = "chest тест".encode("koi8-r")
    for _ in range(2):
        for charset in ("koi8-r", ("koi8-r",), "latin_1"):
            one = value(Op.TEXT, "LO", encoded, charset=charset)
            assert outcomes.of(one, Whose("PABC", -1, known)).value == b"chest "


@pytest.mark.parametrize(
    ("type_", "outcome"),
    [
        ("1", Outcome(Done.REPLACED, Rule.DATE, b"19000101")),
        ("2", Outcome(Done.EMPTIED, Rule.DATE)),
        ("3", Outcome(Done.REMOVED, Rule.DATE)),
    ],
)
def test_what_is_no_date_leaves_what_its_type_asks_for(outcomes: Outcomes, type_: str, outcome: Outcome) -> None:
    assert outcomes.of(value(Op.DATE, "DA", b"tomorrow", type_), whose()) == outcome


def test_nothing_is_done_to_what_stays_and_to_what_is_empty(outcomes: Outcomes) -> None:
    for op, vr, encoded in (
        (Op.DATE, "DA", b""),
        (Op.EMPTY, "LO", b""),
        (Op.TIME, "TM", b"101500"),
        (Op.CODE, "CS", b"ORIGINAL\\PRIMARY "),
        (Op.UID, "UI", b"1.2.840.10008.1.2\0"),
    ):
        assert outcomes.of(value(op, vr, encoded), whose()).done is None


@pytest.mark.parametrize(
    ("vr", "encoded", "outcome"),
    [
        ("FD", b"\0\0\0\0\0\0\xf0?", Outcome(None, Rule.IDENTIFIER)),
        ("FD", b"MEIER123", Outcome(Done.REMOVED, Rule.IDENTIFIER)),
        ("US", b"2024\\20240101 ", Outcome(Done.REMOVED, Rule.VR)),
        ("UL", b"x\0mEiEr\0\0", Outcome(Done.REMOVED, Rule.VR)),
        ("UI", b"1.2.3.meier\0", Outcome(None, Rule.TABLE)),
    ],
)
def test_binary_numbers_have_their_size_and_spell_nobodys_name(
    outcomes: Outcomes, vr: str, encoded: bytes, outcome: Outcome
) -> None:
    encoded = encoded[:-1] if vr == "US" else encoded
    assert outcomes.of(value(Op.KEEP, vr, encoded), whose("Meier")) == outcome


def test_values_are_padded_to_an_even_length() -> None:
    uid = value(Op.UID, "UI", b"1.2.3\0")
    assert settled(uid, b"2.25.12", Done.REMAPPED, Rule.UID).value == b"2.25.12\0"
    text = value(Op.TEXT, "LO", b"chest Anna")
    assert settled(text, b"chest", Done.CLEANED, Rule.DESCRIPTOR).value == b"chest "


def test_long_values_are_decided_too_but_not_remembered(outcomes: Outcomes) -> None:
    text = value(Op.TEXT, "LT", b"chest Anna " * 100)
    assert outcomes.of(text, whose("Anna")).value == b"chest " * 100
    assert outcomes._remembered.cache_info().currsize == 0
    short = value(Op.TEXT, "LO", b"chest Anna")
    outcomes.of(short, Whose("PABC", -1, Identifiers()))  # of an instance that tells too much
    assert outcomes._remembered.cache_info().currsize == 0
    assert outcomes.of(short, whose("Anna")).value == b"chest "
    assert outcomes._remembered.cache_info().currsize == 1


def test_a_sequence_is_nothing_a_value_decides(outcomes: Outcomes) -> None:
    with pytest.raises(ValueError, match="not decided by a value"):
        outcomes.of(value(Op.SEQUENCE, "SQ", b"xx"), whose())
