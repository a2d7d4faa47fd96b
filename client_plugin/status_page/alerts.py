"""The page's alerts: those that fire now, from Alertmanager, and those of the last day that ended, from Prometheus."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from client_plugin.status_page.model import Alert, EndedAlert

PATIENCE_SECONDS = 2.0
LOOKED_BACK = timedelta(days=1)
APART = timedelta(minutes=5)
"""An alert that comes again sooner is the same one."""


def firing(alertmanager: str | None, site: str) -> tuple[tuple[Alert, ...] | None, str]:
    """The alerts that fire now and are of this site or of none, and when there are none to show, why."""
    if alertmanager is None:
        return None, "No Alertmanager is configured (status_page.alertmanager)."
    try:
        # To Alertmanager a label that an alert does not have is an empty one. A site's name needs no quoting.
        listed = _ask(alertmanager, "/api/v2/alerts", {"filter": f'site=~"|{site}"'})
    except (urllib.error.URLError, OSError, ValueError):
        return None, "Alertmanager does not answer: its alerts cannot be shown."
    alerts = [
        Alert(
            name=each["labels"]["alertname"],
            severity=each["labels"].get("severity", ""),
            summary=each["annotations"].get("summary", ""),
            since=datetime.fromisoformat(each["startsAt"]),
        )
        for each in listed
    ]
    return tuple(sorted(alerts, key=lambda alert: alert.since, reverse=True)), "No alert is firing."


def ended(prometheus: str | None, site: str, now: datetime) -> tuple[tuple[EndedAlert, ...] | None, str]:
    """The alerts of this site or of none that ended within `LOOKED_BACK`, and when there are none to show, why."""
    if prometheus is None:
        return None, "For alerts that are over, configure Prometheus (status_page.prometheus)."
    alerts = f'ALERTS{{alertstate="firing",site=~"|{site}"}}'
    seconds = round(LOOKED_BACK.total_seconds())
    try:
        samples, now_firing = (
            _ask(prometheus, "/api/v1/query", {"query": query, "time": now.timestamp()})["data"]["result"]
            for query in (f"{alerts}[{seconds}s]", alerts)
        )
    except (urllib.error.URLError, OSError, ValueError, LookupError):
        return None, "Prometheus does not answer: alerts that are over cannot be shown."
    found = over(samples, [each["metric"] for each in now_firing])
    return tuple(found), f"No alert ended in the last {seconds // 3600} hours."


def over(samples: Iterable[Mapping[str, Any]], now_firing: Collection[Mapping[str, str]]) -> list[EndedAlert]:
    """When each alert fired, latest end first; what fires still is left out.

    Parameters
    ----------
    samples
        A range vector as Prometheus gives it: ``metric`` with its labels, ``values`` of [seconds, text].
    now_firing
        Labels of those that are not over.
    """
    found = []
    for each in samples:
        labels = each["metric"]
        spans = _spans([float(time) for time, _ in each["values"]])
        if labels in now_firing:
            spans = spans[:-1]
        found += [
            EndedAlert(labels.get("alertname", ""), labels.get("severity", ""), *(_time(edge) for edge in span))
            for span in spans
        ]
    return sorted(found, key=lambda alert: alert.until, reverse=True)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _spans(times: Sequence[float]) -> list[tuple[float, float]]:
    """First and last of each run of times that are not `APART`."""
    spans: list[tuple[float, float]] = []
    for time in times:
        if spans and time - spans[-1][1] < APART.total_seconds():
            spans[-1] = spans[-1][0], time
        else:
            spans.append((time, time))
    return spans


def _ask(url: str, path: str, question: Mapping[str, object]) -> Any:
    address = f"{url.rstrip('/')}{path}?{urllib.parse.urlencode(question)}"
    with urllib.request.urlopen(address, timeout=PATIENCE_SECONDS) as answer:  # noqa: S310 - configured, http or https
        return json.load(answer)
