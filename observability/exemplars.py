"""Exemplars for histograms that several processes share: which job a slow round was of.

``prometheus_client``'s multiprocess mode drops exemplars. For histograms of rare events each process keeps the last
exemplar of each bucket in a small file beside its values, and the scraped process puts them back. Writing one costs a
file, so a histogram that is observed a hundred times a second has none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Exemplar, Sample

PREFIX = "exemplars_"

_kept: dict[str, dict[str, Any]] = {}


def keep(folder: Path, name: str, value: float, le: float, names: Mapping[str, str]) -> None:
    """Remember an observation as the exemplar of its bucket.

    Parameters
    ----------
    folder
        Shared by the processes (:func:`observability.setup.folder`).
    name
        Of the histogram; it has no label.
    value, le
        What was observed, and the upper bound of its bucket.
    names
        What the exemplar says, for example ``{"job": id}``; at most 128 characters together (OpenMetrics).
    """
    key = json.dumps([name, le])
    _kept[key] = {"labels": dict(names), "value": value, "at": time.time()}
    _write(folder / f"{PREFIX}{os.getpid()}.json", _kept)


def put_back(metrics: Iterable[Metric], folder: Path) -> Iterable[Metric]:
    """The histograms with the latest exemplar of each bucket."""
    latest = _latest(folder.glob(f"{PREFIX}*.json"))
    for metric in metrics:
        if metric.type == "histogram" and latest:
            metric.samples = [_with_exemplar(metric.name, sample, latest) for sample in metric.samples]
        yield metric


def fold(folder: Path, ended: Iterable[Path]) -> None:
    """Put what ended processes kept into one file, and remove theirs."""
    paths = [*ended]
    total = folder / f"{PREFIX}ended.json"
    _write(total, _latest([total, *paths]))
    for path in paths:
        path.unlink(missing_ok=True)


def _latest(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for path in paths:
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        for key, each in found.items():
            if key not in latest or latest[key]["at"] < each["at"]:
                latest[key] = each
    return latest


def _write(path: Path, kept: Mapping[str, Any]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(kept), encoding="utf-8")
    beside.replace(path)


def _with_exemplar(name: str, sample: Sample, latest: Mapping[str, Mapping[str, Any]]) -> Sample:
    if sample.labels.keys() != {"le"}:
        return sample
    found = latest.get(json.dumps([name, float(sample.labels["le"])]))
    if found is None:
        return sample
    return sample._replace(exemplar=Exemplar(found["labels"], found["value"], found["at"]))
