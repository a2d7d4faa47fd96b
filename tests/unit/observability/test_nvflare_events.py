"""NVFlare's collectors on its own data bus, with NVFlare's own events."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_context import FLContext
from nvflare.metrics.job_metrics_collector import JobMetricsCollector
from nvflare.metrics.system_metrics_collector import SysMetricsCollector

from observability import setup
from observability.instruments import registry
from observability.nvflare_events import JobTimes, NVFlareEvents, TimedEvent, durations


def observed(event: TimedEvent) -> float:
    return registry().get_sample_value("fedpacs_nvflare_event_seconds_count", {"event": event}) or 0.0


def execute_a_task(collector: JobMetricsCollector) -> None:
    for event in (EventType.BEFORE_TASK_EXECUTION, EventType.AFTER_TASK_EXECUTION):
        collector.handle_event(event, FLContext())


def test_a_timed_pair_of_nvflares_collector_becomes_an_observation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    NVFlareEvents()  # of the site's components, which a job process builds too
    collector = JobTimes()
    before = observed(TimedEvent.TASK_EXECUTION)
    monkeypatch.delenv(setup.VARIABLE, raising=False)
    execute_a_task(collector)  # figures are not shared yet: not counted
    monkeypatch.setenv(setup.VARIABLE, str(tmp_path))
    execute_a_task(collector)
    end = time.monotonic() + 5  # the bus delivers from a thread
    while observed(TimedEvent.TASK_EXECUTION) == before and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(0.1)  # a second observation of the same event would come now
    assert observed(TimedEvent.TASK_EXECUTION) == before + 1


@pytest.mark.parametrize("collector", [JobMetricsCollector(tags={}), SysMetricsCollector(tags={})])
def test_every_pair_that_nvflare_times_has_its_member(collector: JobMetricsCollector | SysMetricsCollector) -> None:
    timed = {name.removeprefix("_") for name in collector.get_pair_events().values()}
    assert timed <= {str(event) for event in TimedEvent}


def test_counts_and_unknown_names_are_left_out() -> None:
    published = [
        {"metric_name": "_train_time_taken", "value": 1.5},
        {"metric_name": "_train_count", "value": 1},
        {"metric_name": "_DOE^JANE_time_taken", "value": 2.0},
        {},
    ]
    assert durations(published) == [(TimedEvent.TRAIN, 1.5)]
