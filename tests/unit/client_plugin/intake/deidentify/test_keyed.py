import subprocess
import sys
import uuid

from client_plugin.intake.deidentify.keyed import MAX_SHIFT_DAYS, Keyed

from .conftest import FixedKeys


def test_a_uid_is_a_valid_uuid_derived_uid(keys: FixedKeys) -> None:
    new = Keyed(keys).uid("1.2.840.113619.2.1")
    prefix, number = new.rsplit(".", 1)
    value = uuid.UUID(int=int(number))
    assert prefix == "2.25"
    assert (value.version, value.variant) == (8, uuid.RFC_4122)
    assert len(new) <= 64


def test_sites_share_nothing() -> None:
    a, b = Keyed(FixedKeys("a")), Keyed(FixedKeys("b"))
    assert a.uid("1.2.3") != b.uid("1.2.3")
    assert a.pseudonym("4711") != b.pseudonym("4711")


def test_every_process_gives_the_same(keys: FixedKeys) -> None:
    code = (
        "from tests.unit.client_plugin.intake.deidentify.conftest import FixedKeys\n"
        "from client_plugin.intake.deidentify.keyed import Keyed\n"
        "k = Keyed(FixedKeys()); print(k.uid('1.2.3'), k.pseudonym('4711'), k.shift_days('4711'))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = Keyed(keys)
    assert run.stdout.split() == [here.uid("1.2.3"), here.pseudonym("4711"), str(here.shift_days("4711"))]


def test_shifts_are_spread_over_their_range(keys: FixedKeys) -> None:
    shifts = [Keyed(keys).shift_days(str(i)) for i in range(300)]
    assert min(shifts) >= -MAX_SHIFT_DAYS
    assert max(shifts) <= -1
    assert len(set(shifts)) > 250
