from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from client_plugin.metrics import instruments  # noqa: F401 - fills the catalogue
from observability import nvflare_events  # noqa: F401 - fills the catalogue
from observability.instruments import CATALOGUE
from server_config import metrics  # noqa: F401 - fills the catalogue
from server_config.monitoring.dashboards.build import DASHBOARDS, FOLDER, rendered
from server_config.monitoring.dashboards.panels import Dashboard

by_uid = pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)


def panels(dashboard: Dashboard) -> list[dict[str, Any]]:
    return list(json.loads((FOLDER / f"{dashboard.uid}.json").read_text())["panels"])


@by_uid
def test_the_committed_file_is_what_the_code_builds(dashboard: Dashboard) -> None:
    assert (FOLDER / f"{dashboard.uid}.json").read_text() == rendered(dashboard)


def test_no_other_file_is_committed() -> None:
    assert {path.stem for path in FOLDER.glob("*.json")} == {dashboard.uid for dashboard in DASHBOARDS}


@by_uid
def test_each_panel_has_a_unit_a_description_and_an_empty_state(dashboard: Dashboard) -> None:
    for panel in panels(dashboard):
        if panel["type"] == "row":
            continue
        defaults = panel["fieldConfig"]["defaults"]
        assert defaults["unit"], panel["title"]
        assert len(defaults["noValue"]) > 10, panel["title"]
        assert len(panel["description"]) > 5, panel["title"]
        assert panel["targets"], panel["title"]
        assert all(target["expr"] for target in panel["targets"])


@by_uid
def test_panels_lie_beside_each_other_and_have_their_own_numbers(dashboard: Dashboard) -> None:
    seen: dict[tuple[int, int], str] = {}
    for panel in panels(dashboard):
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        for x in range(grid["x"], grid["x"] + grid["w"]):
            for y in range(grid["y"], grid["y"] + grid["h"]):
                assert (x, y) not in seen, (panel["title"], seen.get((x, y)))
                seen[x, y] = panel["title"]
    numbers = [panel["id"] for panel in panels(dashboard)]
    assert len(set(numbers)) == len(numbers)
    assert 0 not in numbers


def test_every_instrument_is_on_a_dashboard_or_in_an_alert() -> None:
    prometheus = Path(FOLDER.parent / "prometheus")
    text = "".join(path.read_text() for path in [*FOLDER.glob("*.json"), *prometheus.glob("*.yml")])
    shown = set(re.findall(r"fedpacs_\w+", text))
    hidden = {
        name
        for name in CATALOGUE
        if not shown & {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"} and not name.startswith("fedpacs_test_")
    }
    assert hidden == set(), "measured, and nobody sees it"


def test_alerts_that_descriptions_name_have_a_section_in_the_runbook() -> None:
    runbook = (FOLDER.parents[2] / "docs" / "runbook.md").read_text()
    sections = set(re.findall(r"^### (\w+)", runbook, re.MULTILINE))
    text = " ".join(panel.description for dashboard in DASHBOARDS for panel in dashboard.panels)
    camel_case = set(re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b", text))
    assert camel_case <= sections
    assert len(camel_case) >= 10
