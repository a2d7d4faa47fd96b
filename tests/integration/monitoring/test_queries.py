"""Every query of the dashboards against a real Prometheus that scraped a real node.

What only a federation has is asked too: Prometheus must accept the expression. That those return data is asked where
there is a federation, in ``tests/federation/test_main_job_watched.py``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_config.monitoring.dashboards import intake, node
from server_config.monitoring.dashboards.draw import DASHBOARDS, draw
from server_config.monitoring.dashboards.panels import Dashboard
from server_config.monitoring.dashboards.prometheus_api import over_time
from server_config.monitoring.stack import Monitoring
from tests.integration.monitoring.world import Node, pacs, planted_ct, planted_pdf, until, watching, write_kit

pytestmark = pytest.mark.integration

NEEDS_A_FEDERATION = {"In the federation", "Since the last heartbeat", "Jobs"}
"""Panels of the node's dashboard that stay empty outside one: the node under test never joined."""


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitoring]:
    """A node that received and archived for a while, and the Prometheus that watched it."""
    folder = tmp_path_factory.mktemp("queries")
    running = Node(write_kit(folder / "kit"))
    with (
        watching(folder / "monitoring", [running.target], "http://127.0.0.1:9/") as monitoring,
        pacs(running, folder / "pacs"),
    ):
        for turn in range(3):
            running.send(planted_ct(folder / f"ct-{turn}", 5))
            time.sleep(2)
        running.send(planted_pdf(folder / "pdf", 2))
        until(lambda: running.value("fedpacs_archive_instances") == 15, 60, "the archive")
        until(lambda: running.value('fedpacs_peer_up{peer="PACS"}') == 1, 60, "the PACS' answer")
        time.sleep(3)
        yield monitoring
    running.stop()


def empty(monitoring: Monitoring, dashboard: Dashboard) -> set[str]:
    """Panels with a query that returns nothing over the last two minutes."""
    end = time.time()
    return {
        panel.title
        for panel in dashboard.panels
        for query in panel.queries
        if not over_time(monitoring.prometheus, query.expr, query.legend, end - 120, end, 1.0)
    }


@pytest.mark.parametrize("dashboard", [node.DASHBOARD, intake.DASHBOARD], ids=lambda dashboard: dashboard.uid)
def test_every_query_returns_data(monitored: Monitoring, dashboard: Dashboard) -> None:
    assert empty(monitored, dashboard) - NEEDS_A_FEDERATION == set()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda dashboard: dashboard.uid)
def test_prometheus_accepts_every_query_and_it_can_be_drawn(
    monitored: Monitoring, dashboard: Dashboard, tmp_path: Path
) -> None:
    picture = tmp_path / "dashboard.png"
    assert draw(dashboard, monitored.prometheus, time.time(), 60, picture) <= len(dashboard.panels)
    assert picture.stat().st_size > 10_000
