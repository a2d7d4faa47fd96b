"""The main job as Prometheus, the status pages and the logs tell it: complete, bounded, and without an identifier."""

from __future__ import annotations

import json
import math
import re
import unicodedata
import urllib.parse
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from client_plugin.config import NodeConfig
from demo.federation import SERVER
from demo.people import IDENTITIES
from server_config.monitoring.dashboards.build import DASHBOARDS
from tests.federation.main_job import ROOT, SITES, Outcome
from tests.integration.monitoring.test_alert_rules import alerts
from tests.series import LIMIT, is_closed

pytestmark = pytest.mark.federation

EMPTY = {
    "Peers that answer": "the demo's PACS only sends; nobody listens at its address",
    "GPU": "needs an NVIDIA GPU and `nvidia-smi`",
}
"""Panels without data in a run of the demo, and why; docs/monitoring.md lists the same."""
PROMETHEUS_ADDS = {"__name__", "instance", "job"}
UID = re.compile(r"\b(2\.25\.\d{10,}|[0-2](\.\d+){6,})\b")


def test_every_query_of_every_dashboard_returns_data_or_is_listed(outcome: Outcome) -> None:
    answers = outcome.watched.answers
    assert {uid for uid, _, _ in answers} == {dashboard.uid for dashboard in DASHBOARDS}
    assert len(answers) > 70
    empty = {
        (uid, title)
        for (uid, title, _), found in answers.items()
        if not any(math.isfinite(value) for series in found for value in series.values)
    }
    assert {title for _, title in empty} <= set(EMPTY), empty


def test_what_is_listed_as_empty_is_documented_with_its_reason() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    table = text.partition("| panel | why it is empty in the demo |")[2].partition("\n\n")[0]
    assert dict(re.findall(r"^\| (?!-)(.+?) \| (.+?) \|$", table, re.MULTILINE)) == EMPTY


def test_prometheus_scraped_everybody_and_knows_every_alert(outcome: Outcome) -> None:
    assert list(outcome.watched.targets.values()) == ["up"] * (len(SITES) + 1)
    assert outcome.watched.rules == set(alerts())


def test_no_label_is_unbounded(outcome: Outcome) -> None:
    series = outcome.watched.series
    assert len(series) > 500
    peers = {f"PACS_{site[-1].upper()}" for site in SITES}
    for labels in series:
        for label, value in labels.items():
            if label in PROMETHEUS_ADDS or (label, value) in {("site", site) for site in SITES}:
                continue
            assert is_closed(labels["__name__"], label, value, peers=peers, sites=SITES), labels


def test_series_of_the_whole_run_are_few(outcome: Outcome) -> None:
    ever = Counter(labels["instance"] for labels in outcome.watched.series)
    assert len(ever) == len(outcome.watched.samples) == len(SITES) + 1
    for instance, count in ever.items():
        # Ours, and the few that Prometheus adds for a target.
        assert count <= outcome.watched.samples[instance] + 100
        assert count < LIMIT


def test_job_processes_of_sites_and_server_carry_nvflares_times(outcome: Outcome) -> None:
    events = {
        (labels.get("site", SERVER), labels["event"])
        for labels in outcome.watched.series
        if labels["__name__"] == "fedpacs_nvflare_event_seconds_count"
    }
    assert {(SITES[0], "task_execution"), (SITES[0], "result_filter"), (SITES[0], "client_heartbeat")} <= events
    assert {(SERVER, "process_task"), (SERVER, "process_submission")} <= events


def test_the_seconds_of_a_round_name_its_job(outcome: Outcome) -> None:
    (job,) = {path.parent.name for path in (outcome.folder / "kits").rglob("sums.jsonl")}
    assert outcome.watched.exemplars == {("fedpacs_round_seconds", job), ("fedpacs_server_round_seconds", job)}


def test_the_job_and_its_rounds_are_counted_once(outcome: Outcome) -> None:
    server = "\n".join(text for text in outcome.watched.exposed.values() if "fedpacs_server_round" in text)
    assert 'fedpacs_server_jobs_total{state="completed"} 1.0' in server
    assert 'fedpacs_server_rounds_total{outcome="completed"} 2.0' in server
    hospitals = [text for text in outcome.watched.exposed.values() if "fedpacs_spool_instances" in text]
    for text in hospitals:
        assert 'fedpacs_rounds_total{end="contributed"} 2.0' in text
        assert 'fedpacs_jobs_total{state="ended"} 1.0' in text
    assert len(hospitals) == len(SITES)


def value(text: str, series: str) -> float:
    """Of one series in an endpoint's text; 0 when it is not there."""
    (found,) = re.findall(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE) or ["0"]
    return float(found)


def test_every_step_of_the_encrypted_sum_is_measured(outcome: Outcome) -> None:
    hospitals = [text for text in outcome.watched.exposed.values() if "fedpacs_spool_instances" in text]
    assert len(hospitals) == len(SITES)
    for text in hospitals:
        for step in ("encode", "encrypt", "serialize", "open"):
            assert value(text, f'fedpacs_sealing_seconds_count{{step="{step}"}}') == 2, step  # two rounds
            assert value(text, f'fedpacs_sealing_seconds_sum{{step="{step}"}}') > 0, step
        for step in ("upload", "download"):
            assert value(text, f'fedpacs_sealing_bytes_total{{step="{step}"}}') > 10_000, step
    (server,) = [text for text in outcome.watched.exposed.values() if "fedpacs_server_rounds_total" in text]
    assert value(server, "fedpacs_server_add_seconds_count") == 2 * len(SITES)
    assert value(server, "fedpacs_server_add_seconds_sum") > 0
    assert value(server, "fedpacs_server_update_bytes_total") > 10_000
    assert value(server, "fedpacs_server_sum_bytes_total") > 10_000
    # A gauge of a living job process, so Prometheus has it and an endpoint after the job has not.
    noise = [found for (_, title, _), found in outcome.watched.answers.items() if title == "Noise budget"]
    assert any(number > 0 for found in noise for series in found for number in series.values if math.isfinite(number))


def test_status_pages_tell_of_the_run(outcome: Outcome) -> None:
    assert sorted(outcome.watched.pages) == SITES
    for page in outcome.watched.pages.values():
        assert "None: the node runs, is in its federation and has room." in page
        assert f"In the sum of round 2: {', '.join(SITES)}." in page
        assert "Training loss from round 1 to 2" in page
        assert "No alert is firing." in page or "Alerts that are firing" in page


@cache
def folded(text: str) -> str:
    """Without case and accents."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c)).casefold()


def readings(data: bytes) -> Iterator[str]:
    """A text as a person may read it: its bytes in both character sets, its escapes undone, folded."""
    for charset in ("utf-8", "latin-1"):
        text = data.decode(charset, errors="replace")
        text = re.sub(r"\\+u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), text)
        yield folded(urllib.parse.unquote(text))
        text = re.sub(r"\\+x([0-9a-fA-F]{2})", lambda match: chr(int(match[1], 16)), text)
        yield folded(text)
        yield folded(text.encode("latin-1", errors="ignore").decode("utf-8", errors="replace"))


def identifiers() -> set[str]:
    """Everything that was planted, folded, and the parts of names and addresses of people."""
    whole = {text for letter in "ab" for text in IDENTITIES[letter].planted}
    parts = {part for text in whole for part in re.split(r"[\^, ]+", text) if len(part) > 6}
    return {folded(text) for text in whole | parts if len(text) > 5}


def found_in(data: bytes) -> set[str]:
    texts = list(readings(data))
    return {needle for needle in identifiers() if any(needle in text for text in texts)}


def logs(outcome: Outcome) -> dict[str, Path]:
    """Every log of the run by its name below the run's folder: ours, NVFlare's, Prometheus', of parents and jobs."""
    names = re.compile(r".*\.(log|jsonl)(\.\d+)?|log.*\.(txt|json)|.*(audit|error|stats_pool).*")
    return {
        str(path.relative_to(outcome.folder)): path
        for path in sorted(outcome.folder.rglob("*"))
        if path.is_file() and names.fullmatch(path.name)
    }


def test_the_search_would_find_an_identifier_however_it_is_written() -> None:
    name = IDENTITIES["b"].patient_name.partition("^")[0]
    assert found_in(name.upper().encode())
    for written in (json.dumps(name), repr(name.encode()), urllib.parse.quote(name), name.encode("latin-1")):
        assert folded(name) in found_in(written if isinstance(written, bytes) else written.encode())


def test_no_log_of_any_process_names_anybody(outcome: Outcome) -> None:
    files = logs(outcome)
    of_a_hospital = {Path(name).name for name in files if SITES[0] in name}
    assert {"node.jsonl", "listener.jsonl", "worker.jsonl", "job.jsonl"} <= of_a_hospital
    assert {"log.txt", "log.json", "error_log.txt", "log_fl.txt", "audit.log"} <= of_a_hospital
    (job,) = {path.parent.name for path in (outcome.folder / "kits").rglob("sums.jsonl")}
    for name in (f"{SITES[0]}/{job}/log.json", f"{SITES[1]}/{job}/error_log.txt", f"{SERVER}/log.json"):
        assert any(path.endswith(f"prod_00/{name}") for path in files), name
    assert f"download/{job}/workspace/log.json" in files  # the server's job process
    assert "monitoring/prometheus.log" in files
    for name, path in files.items():
        data = path.read_bytes()
        assert found_in(data) == set(), name
        assert not UID.search(data.decode(errors="replace")), name


def test_no_metric_and_no_page_names_anybody(outcome: Outcome) -> None:
    watched = outcome.watched
    assert len(watched.exposed) == len(SITES) + 1
    for text in (*watched.exposed.values(), *watched.pages.values(), json.dumps(watched.series)):
        assert found_in(text.encode()) == set()
        assert not UID.search(text)


def test_a_job_process_says_its_job_in_every_event(outcome: Outcome) -> None:
    for site in SITES:
        config = NodeConfig.load(outcome.kit(site))
        events = [json.loads(line) for line in (config.root / "logs" / "job.jsonl").read_text().splitlines()]
        assert events
        (job,) = {event["job"] for event in events}
        assert (config.models / job).is_dir()
        assert {1, 2} <= {event["round"] for event in events if "round" in event}
