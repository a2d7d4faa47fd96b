"""De-identify a folder of DICOM files, and report what was done to which element under which rule."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.errors import InvalidDicomError

from client_plugin.intake.deidentify import standard
from client_plugin.intake.deidentify.codes import Action, Option, Quarantine
from client_plugin.intake.deidentify.engine import Deidentified, Deidentifier
from client_plugin.intake.deidentify.profile import VERSION, Profile


@dataclass
class FolderSummary:
    """What became of a folder.

    Attributes
    ----------
    written : int
        Instances de-identified.
    refused : Counter
        Reason -> instances that were not written.
    other : int
        Files that are no DICOM.
    rules : Counter
        Rule -> elements it acted on.
    """

    written: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    other: int = 0
    rules: Counter[str] = field(default_factory=Counter)


def deidentify_folder(
    source: Path, target: Path, deidentifier: Deidentifier, report: Path | None = None
) -> FolderSummary:
    """De-identify every DICOM file below ``source`` into ``target``, as PSEUDONYM/SERIES/INSTANCE.dcm.

    Parameters
    ----------
    report : Path or None
        Where to write the evidence, as JSON: the profile, and for each object each element that was changed, by its
        path, with the action of PS3.15 Table E.1-1a and the rule. No values, and no names of the files: an object
        that was refused is known by its number in the sorted listing of ``source``.

    Raises
    ------
    FileExistsError
        ``target`` is not empty: what is in it would be taken for part of the result.
    ValueError
        ``target`` lies in ``source``.
    """
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{target} lies inside of {source}: give a folder of its own for the result")
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty: give a new folder, or empty this one first")
    summary = FolderSummary()
    objects: list[dict[str, Any]] = []
    for number, path in enumerate(sorted(p for p in source.rglob("*") if p.is_file()), start=1):
        try:
            ds = dcmread(path)
        except (InvalidDicomError, OSError, ValueError):
            summary.other += 1
            continue
        try:
            done = deidentifier.apply(ds)
        except Quarantine as refused:
            summary.refused[refused.reason.value] += 1
            objects.append({"file": number, "refused": refused.reason.value})
            continue
        _write(done, target)
        summary.written += 1
        summary.rules.update(action.rule.value for action in done.record)
        objects.append(_evidence(number, done))
    if report is not None:
        content = {"profile": describe(deidentifier.profile), "objects": objects}
        report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return summary


def describe(profile: Profile) -> dict[str, Any]:
    """A profile with its options, their codes, and the sources of its tables."""
    return {
        "version": VERSION,
        "digest": profile.digest,
        "options": {option.code: option.meaning for option in Option if option in profile.options},
        "tables": standard.sources(),
    }


def _write(done: Deidentified, target: Path) -> None:
    ds = done.dataset
    folder = target / done.pseudonym / str(ds.get("SeriesInstanceUID") or "series")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{ds.SOPInstanceUID}.dcm").write_bytes(done.encoded())


def _evidence(number: int, done: Deidentified) -> dict[str, Any]:
    ds: Dataset = done.dataset
    return {
        "file": number,
        "instance": str(ds.SOPInstanceUID),
        "sop_class": str(ds.SOPClassUID),
        "patient": done.pseudonym,
        "elements": list(_elements(done.record)),
    }


def _elements(record: list[Action]) -> Iterator[dict[str, str]]:
    for action in sorted(record, key=lambda action: [*action.path, (action.tag, -1)]):  # as in the data set
        steps = [f"{_name(tag)}[{index}]" for tag, index in action.path]
        yield {
            "element": ".".join([*steps, _name(action.tag)]),
            "tag": f"({action.tag >> 16:04X},{action.tag & 0xFFFF:04X})",
            "action": action.done.value,
            "rule": action.rule.value,
        }


def _name(tag: int) -> str:
    """A standard attribute's keyword; a private one's number, whose creator may be somebody's name."""
    return keyword_for_tag(tag) or f"{tag:08X}"
