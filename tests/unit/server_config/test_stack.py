from __future__ import annotations

from pathlib import Path

import pytest

from server_config.monitoring import stack
from server_config.monitoring.stack import MonitoringError, Target, alertmanager_config, prometheus_config


def test_nodes_carry_their_site_and_the_server_none() -> None:
    config = prometheus_config([Target("n:1", "site-a"), Target("n:2", "site-b"), Target("s:3")], "am:4", "5s")
    jobs = {job["job_name"]: job["static_configs"] for job in config["scrape_configs"]}
    assert jobs == {
        "fedpacs-node": [
            {"targets": ["n:1"], "labels": {"site": "site-a"}},
            {"targets": ["n:2"], "labels": {"site": "site-b"}},
        ],
        # The server's own metrics have a label `site`: a target label of that name would displace it.
        "fedpacs-server": [{"targets": ["s:3"], "labels": {}}],
    }
    assert all(Path(file).exists() for file in config["rule_files"])


def test_alerts_go_to_one_webhook_or_to_nobody() -> None:
    assert {hook["url"] for r in alertmanager_config("http://w/")["receivers"] for hook in r["webhook_configs"]} == {
        "http://w/"
    }
    assert all(receiver["webhook_configs"] == [] for receiver in alertmanager_config(None)["receivers"])


def test_not_installed_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "PROMETHEUS", ("no-such-prometheus",))
    with pytest.raises(MonitoringError, match="apt-get install prometheus"):
        stack.start_monitoring(tmp_path, [])
