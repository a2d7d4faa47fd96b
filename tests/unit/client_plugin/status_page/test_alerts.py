"""Which alerts the page shows; those of real Prometheus and Alertmanager are in tests/integration/monitoring."""

from datetime import UTC, datetime, timedelta

from client_plugin.status_page import alerts
from client_plugin.status_page.model import EndedAlert

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)


def test_without_monitoring_the_page_says_why() -> None:
    assert alerts.firing(None, "site-a") == (None, "No Alertmanager is configured (status_page.alertmanager).")
    assert alerts.ended(None, "site-a", NOW)[0] is None
    assert "status_page.prometheus" in alerts.ended(None, "site-a", NOW)[1]


def test_what_does_not_answer_is_said() -> None:
    nobody = "http://127.0.0.1:1"
    assert alerts.firing(nobody, "site-a") == (None, "Alertmanager does not answer: its alerts cannot be shown.")
    found, note = alerts.ended(nobody, "site-a", NOW)
    assert found is None
    assert "Prometheus does not answer" in note


def minutes(*before: int) -> list[list[object]]:
    return [[(NOW - timedelta(minutes=each)).timestamp(), "1"] for each in before]


def test_an_alert_that_came_twice_is_two_and_one_that_fires_still_is_none() -> None:
    disk, clock = {"alertname": "DiskLow", "severity": "page"}, {"alertname": "ClockSkew", "severity": "ticket"}
    samples = [
        {"metric": disk, "values": minutes(90, 89, 88, 30)},
        {"metric": clock, "values": minutes(60, 58, 2, 1, 0)},
    ]
    assert alerts.over(samples, [clock]) == [
        EndedAlert("DiskLow", "page", NOW - timedelta(minutes=30), NOW - timedelta(minutes=30)),
        EndedAlert("ClockSkew", "ticket", NOW - timedelta(minutes=60), NOW - timedelta(minutes=58)),
        EndedAlert("DiskLow", "page", NOW - timedelta(minutes=90), NOW - timedelta(minutes=88)),
    ]
