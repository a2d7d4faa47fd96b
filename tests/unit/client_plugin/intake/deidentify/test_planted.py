"""No planted identifier survives, and what an IOD requires is still there. tests/integration has the other IODs."""

from functools import cache

import pytest
from pydicom import Dataset

from benchmarks.planting import MODALITIES, Planted, corpus, survivors
from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, standard

from .conftest import FixedKeys, read, written

IODS = tuple(MODALITIES)[:16]


@cache
def _corpus() -> dict[str, Planted]:
    return {p.iod: p for p in corpus(iods=IODS)}


def planted(iod: str) -> Planted:
    return _corpus()[iod]


@cache
def deidentified(iod: str) -> Dataset:
    profile = Profile.from_config(DeidentificationConfig())
    return read(written(Deidentifier(profile, FixedKeys()).apply(read(planted(iod).data)).dataset))


def test_the_corpus_is_large_and_everything_is_in_it() -> None:
    assert len(IODS) >= 15
    assert sum(len(planted(iod).plants) for iod in IODS) >= 2000
    for iod in ("ct-image", "enhanced-mr-image"):
        assert survivors(planted(iod), planted(iod).data) == planted(iod).plants


@pytest.mark.parametrize("iod", IODS)
def test_no_planted_identifier_survives(iod: str) -> None:
    assert survivors(planted(iod), written(deidentified(iod))) == []


@pytest.mark.parametrize("iod", IODS)
def test_what_the_iod_requires_is_kept(iod: str) -> None:
    before, after = read(planted(iod).data), deidentified(iod)
    assert after.SOPClassUID == before.SOPClassUID
    missing = []

    def compare(old: Dataset, new: Dataset, parent: int) -> None:
        for tag, type_ in standard.attributes(iod).get(parent, {}).items():
            if type_ not in ("1", "2") or tag not in old:
                continue
            if tag not in new or (type_ == "1" and old[tag].value and new[tag].value in (None, "", [], b"")):
                missing.append((hex(parent), new.get(tag) or hex(tag)))
        for element in new:
            if element.VR == "SQ" and element.tag in old:
                for a, b in zip(old[element.tag].value, element.value, strict=False):
                    compare(a, b, int(element.tag))

    compare(before, after, standard.TOP)
    assert missing == []


def test_what_is_remembered_of_one_instance_changes_nothing_in_another() -> None:
    """A node takes the instances of many patients in any order; none may show in another, nor change it."""
    profile = Profile.from_config(DeidentificationConfig())
    shared = Deidentifier(profile, FixedKeys())
    for iod in IODS[::2]:
        shared.apply(read(planted(iod).data))
    for iod in IODS[::2]:
        alone = Deidentifier(profile, FixedKeys()).apply(read(planted(iod).data))
        among = shared.apply(read(planted(iod).data))
        assert among.encoded() == alone.encoded(), iod
        assert among.record == alone.record, iod
