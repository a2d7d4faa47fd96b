"""The alerts against Prometheus' own evaluator (promtool), and against the runbook."""

from __future__ import annotations

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from client_plugin.metrics import instruments  # noqa: F401 - fills the catalogue
from observability.instruments import CATALOGUE
from server_config import metrics  # noqa: F401 - fills the catalogue

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[3]
PROMETHEUS = ROOT / "server_config" / "monitoring" / "prometheus"
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
READ_AT_SCRAPE = {
    "fedpacs_time_seconds",
    "fedpacs_facts_age_seconds",
    "fedpacs_storage_free_bytes",
    "fedpacs_storage_size_bytes",
    "fedpacs_storage_reserve_bytes",
    "fedpacs_spool_instances",
    "fedpacs_spool_oldest_age_seconds",
    "fedpacs_processes",
    "fedpacs_processes_expected",
    "fedpacs_certificate_expiry_timestamp_seconds",
    "fedpacs_server_certificate_expiry_timestamp_seconds",
    "fedpacs_site_key_created_timestamp_seconds",
    "fedpacs_scrape_collector_failed",
}
"""Metrics without an instrument: they are computed for a scrape."""


@cache
def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def test_prometheus_accepts_the_rules() -> None:
    files = [str(path) for path in sorted(PROMETHEUS.glob("*.yml")) if path.name != "prometheus.yml"]
    result = subprocess.run(["promtool", "check", "rules", "--lint-fatal", *files], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_quiet(case: Path) -> None:
    result = subprocess.run(["promtool", "test", "rules", str(case)], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fires, quiet = set(), set()
    for case in CASES:
        for test in yaml.safe_load(case.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                (fires if check["exp_alerts"] else quiet).add(check["alertname"])
    assert fires == quiet == set(alerts())


@pytest.mark.parametrize("name", list(alerts()))
def test_every_alert_is_complete(name: str) -> None:
    rule = alerts()[name]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["labels"]["audience"] in ("hospital", "consortium", "both")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{name.lower()}"
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    text = (ROOT / "docs" / "runbook.md").read_text()
    sections = dict(re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(alerts())
    for name, section in sections.items():
        for part in ("**Means**", "**Look**", "**Do**"):
            assert part in section, (name, part)


def test_rules_speak_of_metrics_that_exist() -> None:
    known = {f"{name}{suffix}" for name in CATALOGUE for suffix in ("", "_bucket", "_sum", "_count")} | READ_AT_SCRAPE
    text = "".join(path.read_text() for path in PROMETHEUS.glob("*.yml"))
    expressions = re.sub(r"^ *(#.*|(summary|description|runbook|record|- name|- record):.*)$", "", text, flags=re.M)
    used = set(re.findall(r"(?<!:)\bfedpacs_\w+", expressions)) - {"fedpacs_deidentification_failures"}
    recorded = {name.split(":")[1] for name in re.findall(r"record: (\S+)", text)}
    assert used - recorded <= known, used - recorded - known
