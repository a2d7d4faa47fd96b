from pydicom.datadict import tag_for_keyword

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Profile, standard
from client_plugin.intake.deidentify.codes import Rule
from client_plugin.intake.deidentify.plan import Plan, contradicts, plan
from client_plugin.intake.deidentify.profile import Op

CT = "ct-image"
PRIVATE = 0x00091001
UNKNOWN = 0x00081234


def tag(keyword: str) -> int:
    found = tag_for_keyword(keyword)
    assert found is not None
    return found


def planned(elements: dict[int, str | None], *, implicit: bool = False, **options: bool) -> Plan:
    profile = Profile.from_config(DeidentificationConfig(**options))
    return plan(profile, CT, 0, tuple(elements), tuple(elements.values()), implicit=implicit)


def test_every_element_is_in_one_place() -> None:
    elements = {
        tag("Rows"): "US",
        tag("PatientName"): "PN",
        tag("SeriesDescription"): "LO",
        tag("OperatorsName"): "PN",
        tag("ReferencedImageSequence"): "SQ",
        PRIVATE: "LO",
        UNKNOWN: "LO",
    }
    made = planned(elements)
    assert [of for of, _ in made.kept] == [tag("Rows")]
    assert {action.tag: action.rule for action in made.removed} == {
        tag("OperatorsName"): Rule.TABLE,
        PRIVATE: Rule.PRIVATE,
        UNKNOWN: Rule.IOD,
    }
    assert [of for of, _ in made.others] == [
        tag(k) for k in ("PatientName", "SeriesDescription", "ReferencedImageSequence")
    ]
    assert made.private == ()


def test_names_that_go_are_learned_and_what_an_option_retains_is_not() -> None:
    elements = {tag("OperatorsName"): "PN", tag("PatientID"): "LO", tag("Rows"): "US", tag("DeviceSerialNumber"): "LO"}
    assert set(planned(elements).learned) == {tag("OperatorsName"), tag("PatientID"), tag("DeviceSerialNumber")}
    assert tag("DeviceSerialNumber") not in planned(elements, retain_device_identity=True).learned


def test_private_elements_wait_for_their_creators_where_safe_ones_are_retained() -> None:
    made = planned({PRIVATE: "LO"}, retain_safe_private=True)
    assert (made.private, made.removed, made.learned) == ((PRIVATE,), (), ())


def test_the_groups_of_overlays_are_one_and_the_private_ones_between_them_are_not() -> None:
    assert standard.fold(0x60023000) == standard.fold(0x60FE3000) == 0x60003000
    assert standard.fold(0x60013000) == 0x60013000


def test_a_vr_that_contradicts_goes_and_an_unknown_one_is_mended() -> None:
    (removed,) = planned({tag("Rows"): "LO"}).removed
    assert removed.rule is Rule.VR
    for vr in ("UN", None):
        made = planned({tag("Rows"): vr})
        assert (made.kept, [of for of, _ in made.others]) == ((), [tag("Rows")])
    assert [of for of, _ in planned({tag("Rows"): None}, implicit=True).kept] == [tag("Rows")]


def test_text_and_binary_are_told_apart() -> None:
    steps = Profile.from_config(DeidentificationConfig()).steps(CT, 0)
    rows, pixels = steps[tag("Rows")], steps[tag("PixelData")]
    assert (rows.op, pixels.op) == (Op.KEEP, Op.PIXELS)
    assert [contradicts(vr, rows) for vr in ("US", "UL", "LO", "SQ", None)] == [False, False, True, True, False]
    assert not contradicts("OB", pixels)


def test_the_plan_of_a_hostile_data_set_is_not_kept_in_memory() -> None:
    many: dict[int, str | None] = dict.fromkeys(range(0x00091000, 0x00091000 + 2000), "LO")
    assert planned(many) is not planned(many)
    assert len(planned(many).removed) == 2000


def test_instances_of_one_shape_share_a_plan() -> None:
    assert planned({tag("Rows"): "US"}) is planned({tag("Rows"): "US"})
    assert planned({tag("Rows"): "US"}) is not planned({tag("Rows"): "US", tag("Columns"): "US"})
