"""Which studies to pull: a YAML file, turned into keys for C-FIND and QIDO-RS and into a check of what they answer.

A PACS may ignore optional keys (PS3.4 C.2.2.1), so every answer is checked again here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydicom.dataset import Dataset

from client_plugin.config import ConfigError

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_SPECIAL = set("*?\\\r\n")


class DateRange(BaseModel):
    """Both ends belong to it; one may be open."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    first: date | None = Field(default=None, alias="from")
    last: date | None = Field(default=None, alias="to")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.first is None and self.last is None:
            raise ValueError("give from, to or both")
        if self.first and self.last and self.first > self.last:
            raise ValueError("from is after to")
        return self

    def matching_key(self) -> str:
        """Range matching (PS3.4 C.2.2.2.5).

        Examples
        --------
        >>> DateRange(first=date(2024, 1, 1)).matching_key()
        '20240101-'
        """
        return "-".join(f"{day:%Y%m%d}" if day else "" for day in (self.first, self.last))

    def __contains__(self, studied: str) -> bool:
        """Whether a value of VR DA lies within; one that is none does not."""
        text = studied.replace(".", "")[:8]
        if not (text.isdigit() and len(text) == 8):
            return False
        return (not self.first or f"{self.first:%Y%m%d}" <= text) and (not self.last or text <= f"{self.last:%Y%m%d}")


class PullQuery(BaseModel):
    """A cohort at its source. Conditions are joined by *and*, their values by *or*; at least one must be given."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: tuple[str, ...] = Field(default=(), description="Of at least one series, e.g. CT")
    body_part: tuple[str, ...] = Field(default=(), description="BodyPartExamined of at least one series")
    study_date: DateRange | None = None
    study_description: tuple[str, ...] = Field(default=(), description="Patterns with * and ?, case ignored")
    series_description: tuple[str, ...] = Field(default=(), description="The same, of at least one series")
    accession: tuple[str, ...] = Field(default=(), description="Accession numbers, exact")
    patient_id: tuple[str, ...] = Field(default=(), description="Patient IDs, exact")
    study_uid: tuple[str, ...] = Field(default=(), description="Study Instance UIDs")

    @field_validator("*", mode="before")
    @classmethod
    def _one_is_a_list_of_one(cls, value: Any) -> Any:
        """YAML reads an accession number as an integer and a single value as no list."""
        if isinstance(value, str | int):
            value = (value,)
        return tuple(str(v) if isinstance(v, int) else v for v in value) if isinstance(value, list | tuple) else value

    @field_validator("modality", "body_part")
    @classmethod
    def _codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(v.upper() for v in value)

    @field_validator("accession", "patient_id", "modality", "body_part")
    @classmethod
    def _exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not v.strip() or _SPECIAL & set(v) for v in value):
            raise ValueError("exact values only: not empty, without * ? and \\")
        return value

    @field_validator("study_uid")
    @classmethod
    def _uids(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_UID.fullmatch(v) and len(v) <= 64 for v in value):
            raise ValueError("not a UID")
        return value

    @model_validator(mode="after")
    def _not_everything(self) -> Self:
        if not any(getattr(self, name) for name in type(self).model_fields):
            raise ValueError("give at least one condition: an empty cohort is the whole PACS")
        return self

    @classmethod
    def from_yaml(cls, path: Path) -> PullQuery:
        """Read a cohort; errors name the key, never a value (it may be a patient's).

        Raises
        ------
        ConfigError
            The file is missing, no YAML, or a condition is unknown or malformed.
        """
        try:
            raw = yaml.safe_load(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except yaml.YAMLError:
            raise ConfigError(f"{path} is not YAML") from None
        if not isinstance(raw, dict):
            raise ConfigError(f"{path}: expected a mapping with keys such as modality and study_date")
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'cohort'}: {e['msg']}" for e in error.errors())
            raise ConfigError(f"{path}: {problems}") from None

    @property
    def about_series(self) -> bool:
        """Whether the series of a study must be looked at."""
        return bool(self.modality or self.body_part or self.series_description)


def matching_keys(query: PullQuery) -> list[dict[str, str]]:
    """The study-level keys to ask with, one dictionary of keyword to value for each question.

    Lists of exact values are asked one by one: a PACS need not understand lists. Patterns are only checked here: a PACS
    does not ignore case.

    Examples
    --------
    >>> matching_keys(PullQuery(modality=("CT", "MR"), accession=("A1",)))
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'AccessionNumber': 'A1', 'ModalitiesInStudy': 'CT'}, {'AccessionNumber': 'A1', 'ModalitiesInStudy': 'MR'}]
    """
    lists = {
        "StudyInstanceUID": query.study_uid,
        "PatientID": query.patient_id,
        "AccessionNumber": query.accession,
        "ModalitiesInStudy": query.modality,
    }
    asked = {keyword: values for keyword, values in lists.items() if values}
    always = {"StudyDate": query.study_date.matching_key()} if query.study_date else {}
    return [{**always, **dict(zip(asked, values, strict=True))} for values in product(*asked.values())]


def study_matches(query: PullQuery, study: Dataset) -> bool:
    """Whether a study that a PACS answered with fits, as far as its study level tells.

    Attributes that the PACS did not return are taken to fit, since it was asked with them; a description must be there.
    """
    exact = {"StudyInstanceUID": query.study_uid, "PatientID": query.patient_id, "AccessionNumber": query.accession}
    if any(wanted and (text := _text(study, k)) and text not in wanted for k, wanted in exact.items()):
        return False
    if query.study_date and (day := _text(study, "StudyDate")) and day not in query.study_date:
        return False
    if query.study_description and not _like(_text(study, "StudyDescription"), query.study_description):
        return False
    modalities = _texts(study, "ModalitiesInStudy")
    return not (query.modality and modalities and not set(modalities) & set(query.modality))


def series_match(query: PullQuery, series: Iterable[Dataset]) -> bool:
    """Whether one of a study's series fits all conditions about series."""
    return any(
        (not query.modality or _text(one, "Modality") in query.modality)
        and (not query.body_part or _text(one, "BodyPartExamined").upper() in query.body_part)
        and (not query.series_description or _like(_text(one, "SeriesDescription"), query.series_description))
        for one in series
    )


def _like(text: str, patterns: tuple[str, ...]) -> bool:
    # [ is no wildcard in DICOM
    return any(fnmatchcase(text.upper(), pattern.upper().replace("[", "[[]")) for pattern in patterns)


def _text(ds: Dataset, keyword: str) -> str:
    value = ds.get(keyword)
    return "" if value is None else str(value).strip()


def _texts(ds: Dataset, keyword: str) -> list[str]:
    value = ds.get(keyword) or ()
    return [value] if isinstance(value, str) else [str(v) for v in value]
