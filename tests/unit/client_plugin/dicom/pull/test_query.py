from datetime import date
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from client_plugin.config import ConfigError
from client_plugin.dicom.pull.query import DateRange, PullQuery, matching_keys, series_match, study_matches


def ds(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def query(**conditions: object) -> PullQuery:
    return PullQuery.model_validate(conditions)


def load(tmp_path: Path, text: str) -> PullQuery:
    path = tmp_path / "cohort.yaml"
    path.write_text(text)
    return PullQuery.from_yaml(path)


def test_a_cohort_as_people_write_it(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        "modality: ct\nbody_part: [chest, Abdomen]\nstudy_date: {from: 2024-01-01, to: 2024-12-31}\n"
        "accession: [20240017, A-18]\nstudy_description: '*thorax*'\n",
    )
    assert loaded.modality == ("CT",)
    assert loaded.body_part == ("CHEST", "ABDOMEN")
    assert loaded.accession == ("20240017", "A-18")
    assert loaded.study_date == DateRange(first=date(2024, 1, 1), last=date(2024, 12, 31))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("modality: []\n", "whole PACS"),
        ("{}\n", "whole PACS"),
        ("bodypart: CHEST\n", "bodypart"),
        ("accession: ['A*']\n", "exact values only"),
        ("patient_id: ['A\\B']\n", "exact values only"),
        ("study_uid: ['1.2.x']\n", "not a UID"),
        ("study_date: {from: 2025-01-01, to: 2024-01-01}\n", "from is after to"),
        ("study_date: {}\n", "from, to or both"),
        ("- CT\n", "mapping"),
        ("a: [\n", "not YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        load(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        PullQuery.from_yaml(tmp_path / "cohort.yaml")


def test_a_patient_is_not_quoted_in_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, "patient_id: ['MRN-4711*']\n")
    assert "4711" not in str(raised.value)


def test_every_combination_of_exact_values_is_asked_for() -> None:
    keys = matching_keys(query(accession=["A1", "A2"], modality=["CT", "MR"], study_date={"from": "2024-01-01"}))
    assert len(keys) == 4
    assert keys[0] == {"AccessionNumber": "A1", "ModalitiesInStudy": "CT", "StudyDate": "20240101-"}


def test_conditions_about_series_alone_are_one_open_question() -> None:
    assert matching_keys(query(body_part="CHEST")) == [{}]


def test_patterns_are_not_asked_for_since_a_pacs_minds_case() -> None:
    assert matching_keys(query(study_description="*chest*", modality="CT")) == [{"ModalitiesInStudy": "CT"}]


@pytest.mark.parametrize(
    ("conditions", "study", "fits"),
    [
        ({"study_date": {"from": "2024-01-01", "to": "2024-06-30"}}, {"StudyDate": "20240630"}, True),
        ({"study_date": {"from": "2024-01-01", "to": "2024-06-30"}}, {"StudyDate": "20240701"}, False),
        ({"study_date": {"from": "2024-01-01"}}, {"StudyDate": "yesterday"}, False),
        ({"study_date": {"from": "2024-01-01"}}, {}, True),
        ({"study_description": ["*thorax*", "ct ch?st"]}, {"StudyDescription": "CT CHEST"}, True),
        ({"study_description": "*thorax*"}, {"StudyDescription": "CT CHEST"}, False),
        ({"study_description": "*[a]*"}, {"StudyDescription": "a"}, False),
        ({"study_description": "*[a]*"}, {"StudyDescription": "x [A] y"}, True),
        ({"modality": "CT"}, {"ModalitiesInStudy": ["PT", "CT"]}, True),
        ({"modality": "CT"}, {"ModalitiesInStudy": "MR"}, False),
        ({"modality": "CT"}, {"ModalitiesInStudy": None}, True),
        ({"accession": "A1"}, {"AccessionNumber": "A2"}, False),
        ({"accession": "A1"}, {"AccessionNumber": "A1 "}, True),
        ({"study_uid": "1.2.3"}, {"StudyInstanceUID": "1.2.4"}, False),
    ],
)
def test_what_a_pacs_answers_is_checked(conditions: dict[str, object], study: dict[str, object], fits: bool) -> None:
    assert study_matches(query(**conditions), ds(**study)) is fits


def test_one_series_must_fit_all_conditions_about_series() -> None:
    asked = query(modality="CT", body_part="CHEST", series_description="*lung*")
    head = ds(Modality="CT", BodyPartExamined="HEAD", SeriesDescription="Lung")
    pet = ds(Modality="PT", BodyPartExamined="CHEST", SeriesDescription="lung")
    chest = ds(Modality="CT", BodyPartExamined="Chest", SeriesDescription="HR Lung 1.0")
    assert not series_match(asked, [head, pet])
    assert series_match(asked, [head, pet, chest])
    assert not series_match(asked, [])
