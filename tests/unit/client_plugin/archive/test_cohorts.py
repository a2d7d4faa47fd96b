from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.cohorts import CohortQuery, CohortSnapshot, freeze
from client_plugin.archive.instance import ArchivedInstance

from .conftest import START
from .samples import catalogued, ct, seg


def sealed(catalogue: Catalogue, *instances: ArchivedInstance) -> None:
    catalogued(catalogue, *instances)
    catalogue.seal_quiet_studies(timedelta(0), START + timedelta(days=10_000))


def studies(catalogue: Catalogue, **query: object) -> list[str]:
    return [ref.study_uid for ref in freeze(catalogue, CohortQuery.model_validate(query)).studies]


@pytest.fixture
def filled(catalogue: Catalogue) -> Catalogue:
    """1: chest CT, a SEG on the first of two series; 2: head CT; 3: chest CT, a SEG of a series not here; 4: MR."""
    sealed(
        catalogue,
        ct(1),
        ct(2),
        ct(1, series=2),
        seg(names=("liver", "spleen")),
        ct(1, study=2, pseudonym="P2", body_part="HEAD"),
        ct(1, study=3, pseudonym="P1"),
        seg(study=3, on=5),
        ct(1, study=4, pseudonym="P4", modality="MR"),
    )
    return catalogue


def test_conditions(filled: Catalogue) -> None:
    assert studies(filled) == ["2.25.1", "2.25.2", "2.25.3", "2.25.4"]
    assert studies(filled, modality="ct") == ["2.25.1", "2.25.2", "2.25.3"]
    assert studies(filled, modality=["MR", "CT"], body_part=["HEAD"]) == ["2.25.2"]
    assert studies(filled, labels="SEG") == ["2.25.1"]
    assert studies(filled, labels="RTSTRUCT") == []
    assert studies(filled, labels="SEG", label_names=["spleen"]) == ["2.25.1"]
    assert studies(filled, labels="SEG", label_names=["spleen", "kidney"]) == []
    assert studies(filled, min_instances=2) == ["2.25.1"]


def test_only_series_that_labels_were_drawn_on_are_used(filled: Catalogue) -> None:
    (ref,) = freeze(filled, CohortQuery(labels="SEG")).studies
    assert (ref.image_series, ref.label_instances) == (("2.25.1.1",), ("2.25.1.70.1",))
    first = freeze(filled, CohortQuery(modality=("CT",))).studies[0]
    assert first.image_series == ("2.25.1.1", "2.25.1.2")


def test_patients_are_counted_once(filled: Catalogue) -> None:
    snapshot = freeze(filled, CohortQuery(modality=("CT",)))
    assert (len(snapshot.studies), snapshot.patients) == (3, 2)


def test_open_studies_are_left_out(catalogue: Catalogue) -> None:
    catalogued(catalogue, ct(1))
    assert studies(catalogue) == []


def test_a_late_instance_changes_nothing_until_it_is_sealed(catalogue: Catalogue) -> None:
    query = CohortQuery(modality=("CT",))
    sealed(catalogue, ct(1))
    before = freeze(catalogue, query)
    catalogued(catalogue, ct(2))
    assert freeze(catalogue, query) == before
    sealed(catalogue)
    after = freeze(catalogue, query)
    assert after.studies[0].version == 2
    assert after.digest != before.digest


def test_the_digest_depends_on_content_alone(tmp_path: Path) -> None:
    def snapshot(name: str, *instances: ArchivedInstance) -> CohortSnapshot:
        catalogue = Catalogue.open(f"sqlite:///{tmp_path}/{name}")
        sealed(catalogue, *instances)
        return freeze(catalogue, CohortQuery(labels="SEG"))

    one = snapshot("one", ct(1), ct(2), seg())
    assert snapshot("two", seg(), ct(2), ct(1)).digest == one.digest
    assert snapshot("three", ct(1), seg()).digest != one.digest


def test_the_question_is_part_of_the_digest(filled: Catalogue) -> None:
    one, two = (freeze(filled, CohortQuery(labels="SEG", min_instances=n)) for n in (1, 2))
    assert one.studies == two.studies
    assert one.digest != two.digest


def test_an_unknown_condition_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "cohort.yaml"
    path.write_text("modality: CT\nbodypart: CHEST\n")
    with pytest.raises(ValidationError, match="bodypart"):
        CohortQuery.from_yaml(path)


def test_a_query_from_yaml(tmp_path: Path) -> None:
    path = tmp_path / "cohort.yaml"
    path.write_text("modality: CT\nbody_part: [chest, Abdomen]\nlabels: SEG\n")
    assert CohortQuery.from_yaml(path) == CohortQuery(modality=("CT",), body_part=("CHEST", "ABDOMEN"), labels="SEG")
