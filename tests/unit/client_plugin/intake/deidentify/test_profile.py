import pytest

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Option, Profile, standard
from client_plugin.intake.deidentify.profile import Op, _basic

BASIC_ONLY = DeidentificationConfig(
    clean_descriptors=False,
    retain_modified_dates=False,
    clean_structured_content=False,
    clean_graphics=False,
    clean_pixel_data=False,
    clean_visual_features=False,
)


@pytest.fixture(scope="module")
def basic() -> Profile:
    return Profile.from_config(BASIC_ONLY)


@pytest.mark.parametrize(
    ("action", "type_", "op"),
    [
        ("X", "3", Op.REMOVE),
        ("X", "1C", Op.REMOVE),
        ("X", "2", Op.EMPTY),
        ("X", "1", Op.DUMMY),
        ("Z", "3", Op.EMPTY),
        ("Z", "1", Op.DUMMY),
        ("D", "3", Op.DUMMY),
        ("Z/D", "2", Op.EMPTY),
        ("Z/D", "1C", Op.DUMMY),
        ("X/Z", "3", Op.REMOVE),
        ("X/Z", "2", Op.EMPTY),
        ("X/D", "2", Op.DUMMY),
        ("X/Z/D", "3", Op.REMOVE),
        ("X/Z/D", "2C", Op.EMPTY),
        ("X/Z/D", "1", Op.DUMMY),
    ],
)
def test_the_type_settles_the_choice(action: str, type_: str, op: Op) -> None:
    assert _basic(action, type_) is op


def test_no_attribute_of_the_table_keeps_its_value_in_the_basic_profile(basic: Profile) -> None:
    harmless = {Op.REMOVE, Op.EMPTY, Op.DUMMY, Op.UID, Op.PATIENT}
    for tag, row in standard.confidentiality().items():
        for type_ in ("1", "1C", "2", "2C", "3"):
            op = basic.decide(tag, type_).op
            assert op in harmless or (row.basic == "X/Z/U*" and op is Op.SEQUENCE), hex(tag)


@pytest.mark.parametrize(
    ("tag", "switch", "off", "on"),
    [
        (0x00080020, "retain_modified_dates", Op.EMPTY, Op.DATE),
        (0x0008103E, "clean_descriptors", Op.REMOVE, Op.TEXT),
        (0x00101010, "retain_patient_characteristics", Op.REMOVE, Op.AGE),
        (0x00081010, "retain_device_identity", Op.REMOVE, Op.LABEL),
        (0x0020000D, "retain_uids", Op.UID, Op.KEEP),
    ],
)
def test_options_switch(tag: int, switch: str, off: Op, on: Op) -> None:
    without = Profile.from_config(BASIC_ONLY)
    with_it = Profile.from_config(BASIC_ONLY.model_copy(update={switch: True}))
    assert (without.decide(tag, "3").op, with_it.decide(tag, "3").op) == (off, on)
    assert without.digest != with_it.digest
    assert with_it.options > without.options


def test_the_birth_date_is_no_longitudinal_information() -> None:
    profile = Profile(frozenset(Option))
    assert profile.decide(0x00100030, "2").op is Op.EMPTY


def test_what_training_needs_is_kept_in_every_profile(basic: Profile) -> None:
    steps = basic.steps("ct-image", standard.TOP)
    geometry = [
        0x00200032,
        0x00200037,
        0x00280030,
        0x00280010,
        0x00180050,
        0x00281052,
        0x00281053,
        0x00281050,
        0x00180060,
    ]
    assert {steps[tag].op for tag in geometry} <= {Op.NUMBER, Op.KEEP}


def test_no_iod_keeps_person_names() -> None:
    profile = Profile(frozenset(Option) - {Option.CLEAN_STRUCTURED_CONTENT})
    for iod in set(standard.sop_classes().values()):
        if iod in ("basic-directory",):
            continue
        for parent in standard.attributes(iod):
            for tag, step in profile.steps(iod, parent).items():
                if "PN" in step.vrs:
                    assert step.op in (Op.REMOVE, Op.EMPTY, Op.DUMMY, Op.PATIENT), (iod, hex(tag))
