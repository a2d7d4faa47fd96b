from datetime import datetime, timedelta

import pytest

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.patients import PatientForgotten
from client_plugin.archive.received import CatalogueReason, NewReceived, ReceivedRow

from .conftest import MINUTE, START
from .samples import CT, EXPLICIT_LE, add_instance, catalogued, ct, seg

QUIET = timedelta(minutes=5)


def received(catalogue: Catalogue, name: str, at: datetime) -> ReceivedRow:
    """A row of the spool, claimed."""
    new = NewReceived(
        spool_name=name,
        uid_digest=name,
        content_digest=name,
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        size=1,
        source_ae="PACS",
        received_at=at,
    )
    catalogue.record_received([new])
    return catalogue.claim("worker", 1)[0]


def add(catalogue: Catalogue, number: int, at: datetime, *, study: int = 1) -> None:
    catalogue.add_patient("P1", b"wrapped")
    row = received(catalogue, f"{study}-{number}", at)
    add_instance(catalogue, ct(number, study=study), size=1000, sha256=f"{number:064x}", received=row)


def test_an_instance_comes_back_as_it_was_catalogued(catalogue: Catalogue) -> None:
    for meta in (
        ct(3),
        ct(4, position=None, orientation=None, location=None, number=None),
        seg(names=("liver", "spleen")),
    ):
        catalogued(catalogue, meta)
        row = catalogue.instance(meta.sop_instance_uid)
        assert row is not None
        assert {**meta.__dict__} == {k: v for k, v in row.__dict__.items() if k in meta.__dict__}
        assert (row.version, row.size) == (1, 1000)


def test_a_changed_profile_finds_what_other_rules_made(catalogue: Catalogue) -> None:
    new, old = "b" * 16, "a" * 16
    catalogued(catalogue, ct(1, rules=old), ct(2, rules=new), ct(1, study=2, rules=new))
    assert catalogue.of_other_rules(new) == ["2.25.1"]
    assert catalogue.of_other_rules(old) == ["2.25.1", "2.25.2"]


def test_a_second_copy_changes_nothing(catalogue: Catalogue) -> None:
    catalogued(catalogue, ct(1))
    assert not add_instance(catalogue, ct(1, body_part="HEAD"), size=5, sha256="f" * 64)
    row = catalogue.instance(ct(1).sop_instance_uid)
    assert row is not None
    assert (row.body_part, row.size) == ("CHEST", 1000)


def test_a_summary_counts_what_is_there(catalogue: Catalogue) -> None:
    catalogued(catalogue, ct(1), ct(2), ct(1, series=2, body_part="ABDOMEN"), seg(), ct(1, study=2, pseudonym="P2"))
    one, two = sorted(catalogue.studies(), key=lambda s: s.study_uid)
    assert (one.modalities, one.body_parts, one.series, one.instances) == (("CT", "SEG"), ("ABDOMEN", "CHEST"), 3, 4)
    assert (two.pseudonym, two.instances) == ("P2", 1)
    assert catalogue.counts() == {
        "patients": 2,
        "studies": 2,
        "studies_open": 2,
        "studies_sealed": 0,
        "series": 4,
        "instances": 5,
        "bytes": 5000,
        "spool_pending": 0,
        "quarantine": 0,
    }


def test_a_series_is_ordered_along_the_normal_whatever_its_numbers_say(catalogue: Catalogue) -> None:
    catalogued(catalogue, *(ct(n, number=100 - n) for n in (3, 1, 2)))
    assert [row.location for row in catalogue.series("2.25.1.1")] == [2.5, 5.0, 7.5]


def test_geometry_of_an_unsealed_series_is_unknown(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    assert catalogue.geometry("2.25.1.1") is None


def test_forgetting_removes_every_row_and_refuses_what_comes_later(catalogue: Catalogue) -> None:
    add(catalogue, 1, START)
    catalogued(catalogue, seg(), ct(1, study=2, pseudonym="P2"))
    catalogue.seal_quiet_studies(QUIET, START + 10 * MINUTE)
    assert catalogue.forget_rows("P1") == []
    assert [study.pseudonym for study in catalogue.studies()] == ["P2"]
    assert catalogue.received_digests(["1-1"]) == set()
    assert catalogue.patient_key("P1") is None
    with pytest.raises(PatientForgotten):
        add_instance(catalogue, ct(2), size=1, sha256="0" * 64)
    with pytest.raises(PatientForgotten):
        catalogue.add_patient("P1", b"again")


def test_forgetting_names_the_raw_copies_in_quarantine(catalogue: Catalogue) -> None:
    row = received(catalogue, "raw", START)
    catalogue.quarantine(row, CatalogueReason.TOO_MANY_TRIES, pseudonym="P1")
    assert catalogue.forget_rows("P1") == ["raw"]
    assert catalogue.quarantined() == []
    assert catalogue.received_digests(["raw"]) == set()


def test_what_is_set_aside_for_a_forgotten_patient_is_not_kept(catalogue: Catalogue) -> None:
    catalogue.add_patient("P1", b"wrapped")
    row = received(catalogue, "raw", START)
    catalogue.forget_rows("P1")
    assert not catalogue.quarantine(row, CatalogueReason.TOO_MANY_TRIES, pseudonym="P1")
    assert catalogue.quarantined() == []
    assert catalogue.received_digests(["raw"]) == set()


def test_two_processes_that_meet_a_new_patient_agree_on_the_key(catalogue: Catalogue) -> None:
    assert catalogue.add_patient("P1", b"mine") == b"mine"
    assert catalogue.add_patient("P1", b"theirs") == b"mine"
