"""One run of the demo for every test of the main job: two hospitals, two rounds, watched by a real Prometheus.

A run is what costs time, so there is one a session. Before it is stopped, what Prometheus saw and what the pages said
is kept in :class:`Watched`.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
from rich.console import Console

from demo import processes
from demo.result import DemoResult
from demo.run import Options, run
from demo.stop import stop_all
from server_config.monitoring.dashboards.build import DASHBOARDS
from server_config.monitoring.dashboards.prometheus_api import Series, over_time
from tests.federation.memory import dump, libraries

ROOT = Path(__file__).parents[2]
SITES = ["hospital-a", "hospital-b"]
# A hospital keeps what it starts from through its first round; the server is looked at over the whole job.
MOST_DUMPS = {"server": 8, "hospital": 6}
LEARNING = {"training": {"steps": 4}}


@dataclass
class Spy:
    """Reads the memory of the run's job processes while they train."""

    root: Path
    folder: Path
    libraries: dict[str, set[str]] = field(default_factory=dict)
    dumps: dict[str, list[Path]] = field(default_factory=lambda: {"server": [], "hospital": []})
    ended: threading.Event = field(default_factory=threading.Event)

    def watch(self) -> None:
        while not self.ended.wait(3.0):
            for kind, process in self.jobs():
                if len(self.dumps[kind]) >= MOST_DUMPS[kind]:
                    continue
                try:
                    path = self.folder / f"{kind}-{len(self.dumps[kind])}"
                    path.write_bytes(dump(process.pid))
                    self.dumps[kind].append(path)
                    self.libraries.setdefault(kind, set()).update(libraries(process.pid))
                except OSError:
                    continue  # it ended in between

    def jobs(self) -> Iterator[tuple[str, psutil.Process]]:
        """The job processes of the server and of the first hospital."""
        for run_folder in (self.root / "runs").glob("*"):
            for process in processes.marked(run_folder.name):
                try:
                    line = " ".join(process.cmdline())
                except psutil.Error:
                    continue
                if "runner_process" in line:
                    yield "server", process
                elif "worker_process" in line and SITES[0] in line:
                    yield "hospital", process


@dataclass
class Watched:
    """What there was to see of the run while its federation, Prometheus and Alertmanager still ran.

    Attributes
    ----------
    answers
        Dashboard, title of the panel and expression to what Prometheus answered over the whole run.
    series
        Labels of every series of ours that Prometheus got to know, the gauges of ended processes too.
    samples
        Instance to the most samples of one scrape.
    targets, rules
        Health of each scraped address; names of the loaded alerts.
    exemplars
        Names of the histograms that have one, with the job that it names.
    exposed
        Text of each ``/metrics`` at the end, by address.
    pages
        Text of each hospital's status page at the end, by site.
    """

    answers: dict[tuple[str, str, str], list[Series]]
    series: list[dict[str, str]]
    samples: dict[str, float]
    targets: dict[str, str]
    rules: set[str]
    exemplars: set[tuple[str, str]]
    exposed: dict[str, str]
    pages: dict[str, str]


@dataclass
class Outcome:
    """What is left of the run."""

    result: DemoResult
    folder: Path
    said: str
    spy: Spy
    watched: Watched

    def kit(self, name: str) -> Path:
        return kit(self.folder, name)


def kit(folder: Path, name: str) -> Path:
    """The kit of a participant of the run in ``folder``."""
    (found,) = (folder / "kits").glob(f"*/prod_00/{name}")
    return found


def run_demo(root: Path, memory: Path) -> Outcome:
    """Run the demo below ``root``, with the data packages of this checkout's own demo, and stop everything.

    Parameters
    ----------
    memory
        Folder for the dumps of the job processes; the caller deletes them.
    """
    cache = ROOT / ".demo" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    (root / "cache").symlink_to(cache)
    spy = Spy(root, memory)
    thread = threading.Thread(target=spy.watch)
    thread.start()
    console = Console(record=True, width=120, force_terminal=False)
    options = Options(root, sites="ab", rounds=2, encryption="he", learning=LEARNING, keep=True, monitor=True)
    started = time.time()
    try:
        result = run(options, console)
        (folder,) = (root / "runs").glob("*")
        watched = look(result, folder, started)
    finally:
        spy.ended.set()
        thread.join()
        stop_all(root)
    return Outcome(result, folder, console.export_text(), spy, watched)


def look(result: DemoResult, folder: Path, started: float) -> Watched:
    """Ask Prometheus, every endpoint and every page."""
    (prometheus,) = (each.url for each in result.metrics if each.name == "Prometheus")
    now = time.time()
    ours = {"match[]": '{__name__=~"fedpacs_.+"}', "start": started, "end": now + 60}
    most = over_time(prometheus, "max_over_time(scrape_samples_scraped[1h])", "{{instance}}", now, now, 1)
    rules = _json(f"{prometheus}/api/v1/rules?type=alert")["groups"]
    rounds = {"query": '{__name__=~"fedpacs_(server_)?round_seconds_bucket"}', "start": started, "end": now + 60}
    exemplars = _json(f"{prometheus}/api/v1/query_exemplars?{urlencode(rounds)}")
    return Watched(
        answers={
            (dashboard.uid, panel.title, query.expr): over_time(
                prometheus, query.expr, query.legend, started, now, max(1.0, (now - started) / 200)
            )
            for dashboard in DASHBOARDS
            for panel in dashboard.panels
            for query in panel.queries
        },
        series=_json(f"{prometheus}/api/v1/series?{urlencode(ours)}"),
        samples={each.legend: each.values[-1] for each in most},
        targets={
            each["labels"]["instance"]: each["health"]
            for each in _json(f"{prometheus}/api/v1/targets")["activeTargets"]
        },
        rules={rule["name"] for group in rules for rule in group["rules"]},
        exemplars={
            (found["seriesLabels"]["__name__"].removesuffix("_bucket"), each["labels"]["job"])
            for found in exemplars
            for each in found["exemplars"]
        },
        exposed={each.url: _text(each.url) for each in result.metrics if each.url.endswith("/metrics")},
        pages={
            name: _text(each.url)
            for each in result.metrics
            for name, _, what in [each.name.partition(", ")]
            if what == "status page"
        },
    )


def _json(url: str) -> Any:
    return json.loads(_text(url))["data"]


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - of the run itself
        return str(answer.read().decode())
