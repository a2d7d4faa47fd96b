"""NVFlare's own metrics collectors, carried as histograms.

``nvflare.metrics``' collectors time pairs of events (a task's execution, a filter, a heartbeat) and publish the
duration on the process' data bus, where NVFlare itself offers StatsD over UDP. Kits put ``SysMetricsCollector`` and
:class:`NVFlareEvents` beside each other into ``resources.json``, for the parent process; a job's configuration has
:class:`JobTimes`, for the job processes of server and sites.

Notes
-----
A collector remembers one start for each pair of events: where a process handles several requests at once (the
server's, answering its sites), the times of such pairs are of one request's start to another's end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import ReservedTopic
from nvflare.fuel.data_event.data_bus import DataBus
from nvflare.metrics.job_metrics_collector import JobMetricsCollector
from nvflare.metrics.metrics_keys import MetricKeys

from observability import setup
from observability.instruments import LONG_SECONDS, HistogramBy

SUFFIX = f"_{MetricKeys.time_taken}"


class TimedEvent(StrEnum):
    """The pairs of events that NVFlare 2.9's collectors time (``JobMetricsCollector``, ``SysMetricsCollector``)."""

    WORKFLOW = "workflow"
    RUN = "run"
    JOB = "job"
    PULL_TASK = "pull_task"
    PROCESS_TASK = "process_task"
    PROCESS_SUBMISSION = "process_submission"
    DATA_FILTER = "data_filter"
    RESULT_FILTER = "result_filter"
    TASK_EXECUTION = "task_execution"
    SEND_TASK_RESULT = "send_task_result"
    PROCESS_RESULT_OF_UNKNOWN_TASK = "process_result_of_unknown_task"
    AGGREGATION = "aggregation"
    RECEIVE_BEST_MODEL = "receive_best_model"
    TRAIN = "train"
    TRAIN_DONE = "train_done"
    TRAINING = "training"
    ROUND = "round"
    SYSTEM = "system"
    CHECK_CLIENT_RESOURCES = "check_client_resources"
    CLIENT_REGISTER = "client_register"
    CLIENT_HEARTBEAT = "client_heartbeat"


_KNOWN = {str(event) for event in TimedEvent}

EVENT_SECONDS = HistogramBy(
    "fedpacs_nvflare_event_seconds",
    "Time between the paired events of NVFlare's own metrics collectors",
    "event",
    TimedEvent,
    buckets=LONG_SECONDS,
)


class NVFlareEvents(FLComponent):
    """Observes what the collectors of this process publish, once the process shares its figures."""

    def __init__(self) -> None:
        super().__init__()
        subscribe()


class JobTimes(JobMetricsCollector):
    """NVFlare's collector for a job's events, observed here and streamed nowhere, whatever the job says."""

    def __init__(self) -> None:
        super().__init__(tags={}, streaming_to_server=False)
        subscribe()


def subscribe() -> None:
    """Observe what is published in this process; a second call changes nothing.

    Job processes build the site's components too, so there may be several of ours in a process.
    """
    bus = DataBus()
    bus.unsubscribe(ReservedTopic.APP_METRICS, _on_published)
    bus.subscribe([ReservedTopic.APP_METRICS], _on_published)


def _on_published(topic: str, data: Iterable[Mapping[str, Any]], _bus: DataBus) -> None:
    # Before the process shares its figures nothing may be counted: it would be kept to this process for good.
    if topic == ReservedTopic.APP_METRICS and setup.folder() is not None:
        for event, seconds in durations(data):
            EVENT_SECONDS.observe(event, seconds)


def durations(published: Iterable[Mapping[str, Any]]) -> list[tuple[TimedEvent, float]]:
    """The durations among what a collector published; counts and names that NVFlare 2.9 does not have are left out."""
    found = []
    for each in published:
        name = str(each.get(MetricKeys.metric_name, ""))
        event = name.removesuffix(SUFFIX).removeprefix("_")
        if name.endswith(SUFFIX) and event in _KNOWN:
            found.append((TimedEvent(event), float(each[MetricKeys.value])))
    return found
