"""Cohorts: a question to the catalogue, and its answer frozen at one moment.

A snapshot names exact versions of studies and carries a digest of the bytes they consist of. The same query over the
same archive gives the same digest, on any machine and any database; one more instance gives another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.models import Instance, Series, Study

#: Modalities (PS3.3 C.7.3.1.1.1) whose objects are about images and are none.
NOT_IMAGES = frozenset(
    {"SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "SR", "PR", "KO", "REG", "FID", "DOC", "PLAN"}
)


class CohortQuery(BaseModel):
    """Which studies. An empty condition admits everything; conditions are joined by *and*, their values by *or*."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: tuple[str, ...] = Field(default=(), description="Modality of an image series, e.g. CT")
    body_part: tuple[str, ...] = Field(default=(), description="BodyPartExamined of an image series, e.g. CHEST")
    labels: Literal["SEG", "RTSTRUCT"] | None = Field(
        default=None, description="Only image series that such an object in the study was drawn on"
    )
    label_names: tuple[str, ...] = Field(default=(), description="Only with all of these segments or regions")
    min_instances: int = Field(default=1, ge=1, description="Fewest instances of an image series")

    @field_validator("modality", "body_part", mode="before")
    @classmethod
    def _codes(cls, value: Any) -> Any:
        """One value stands for a list of one; codes are compared in upper case."""
        values = (value,) if isinstance(value, str) else value
        return tuple(v.upper() if isinstance(v, str) else v for v in values)

    @field_validator("label_names", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @classmethod
    def from_yaml(cls, path: Path) -> CohortQuery:
        """Read a query; an unknown key is an error."""
        return cls.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")) or {})


@dataclass(frozen=True)
class StudyRef:
    """One study of a snapshot.

    Parameters
    ----------
    version
        The sealed version; give it to `Archive.series`.
    image_series
        UIDs of the image series that fit the query.
    label_instances
        UIDs of the SEG or RTSTRUCT instances drawn on one of them.
    digest
        SHA-256 over the UIDs and contents of all of these instances.
    """

    study_uid: str
    version: int
    pseudonym: str
    image_series: tuple[str, ...]
    label_instances: tuple[str, ...]
    digest: str


@dataclass(frozen=True)
class CohortSnapshot:
    """An immutable cohort: the studies by UID, the number of patients, and the digest of it all."""

    digest: str
    studies: tuple[StudyRef, ...]
    patients: int


def freeze(catalogue: Catalogue, query: CohortQuery) -> CohortSnapshot:
    """Answer ``query`` from the newest sealed version of each study."""
    everything = (
        select(Study)
        .join(Study.versions)
        .distinct()
        .options(
            selectinload(Study.patient),
            selectinload(Study.versions),
            selectinload(Study.series).selectinload(Series.instances).selectinload(Instance.references),
            selectinload(Study.series).selectinload(Series.instances).selectinload(Instance.labels),
        )
        .order_by(Study.uid)
    )
    with catalogue.reading() as session:
        candidates = (_select(study, query) for study in session.scalars(everything))
        return snapshot_of(query, sorted((s for s in candidates if s), key=lambda s: s.study_uid))


def snapshot_of(query: CohortQuery, studies: list[StudyRef]) -> CohortSnapshot:
    """The snapshot of a query's answer; its digest covers both."""
    content = {"query": query.model_dump(mode="json"), "studies": [asdict(study) for study in studies]}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return CohortSnapshot(
        digest=hashlib.sha256(canonical.encode()).hexdigest(),
        studies=tuple(studies),
        patients=len({study.pseudonym for study in studies}),
    )


def _select(study: Study, query: CohortQuery) -> StudyRef | None:
    """The part of a study that fits the query, or None."""
    version = max(v.number for v in study.versions)
    contents = {s.uid: [i for i in s.instances if i.version <= version] for s in study.series}
    images = [s for s in study.series if _is_image(s, query) and len(contents[s.uid]) >= query.min_instances]
    labels = [
        (instance, {r.series_uid for r in instance.references} & {s.uid for s in images})
        for s in study.series
        if s.modality == (query.labels or s.modality)
        for instance in contents[s.uid]
        if set(query.label_names) <= {label.name for label in instance.labels}
    ]
    labels = [(instance, drawn_on) for instance, drawn_on in labels if drawn_on]
    if query.labels or query.label_names:
        images = [s for s in images if any(s.uid in drawn_on for _, drawn_on in labels)]
    if not images:
        return None
    used = [i for s in images for i in contents[s.uid]] + [instance for instance, _ in labels]
    digest = hashlib.sha256("".join(sorted(f"{i.uid} {i.sha256}\n" for i in used)).encode()).hexdigest()
    return StudyRef(
        study_uid=study.uid,
        version=version,
        pseudonym=study.patient.pseudonym,
        image_series=tuple(sorted(s.uid for s in images)),
        label_instances=tuple(sorted(instance.uid for instance, _ in labels)),
        digest=digest,
    )


def _is_image(series: Series, query: CohortQuery) -> bool:
    return (
        series.modality not in NOT_IMAGES
        and (not query.modality or series.modality in query.modality)
        and (not query.body_part or series.body_part in query.body_part)
    )
