from pathlib import Path

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Option, Profile, statement
from client_plugin.intake.deidentify.profile import SWITCHES

DOCUMENT = Path(__file__).parents[5] / "docs" / "deidentification.md"


def test_the_document_is_the_generated_one() -> None:
    """If this fails: ``python -m client_plugin.intake.deidentify.statement > docs/deidentification.md``."""
    assert DOCUMENT.read_text(encoding="utf-8") == statement.statement()


def test_every_option_has_a_switch_that_works() -> None:
    assert set(SWITCHES.values()) == set(Option) - {Option.BASIC}
    for key, option in SWITCHES.items():
        for on in (True, False):
            profile = Profile.from_config(DeidentificationConfig(**{key: on}))
            assert (option in profile.options) is on
