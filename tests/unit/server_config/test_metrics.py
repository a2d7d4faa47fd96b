from __future__ import annotations

from observability.instruments import registry
from server_config import metrics
from server_config.metrics import RoundOutcome, SiteCount, UpdateOutcome


def value(name: str, **labels: str) -> float | None:
    return registry().get_sample_value(name, labels)


def missed(site: str) -> float | None:
    return value("fedpacs_server_site_rounds_missed", site=site)


def test_rounds_count_who_contributed_and_who_missed_in_a_row() -> None:
    sites = ("a", "b", "c")
    before = value("fedpacs_server_site_contributions_total", site="a") or 0.0
    for number, contributed in ((1, sites), (2, ("a", "b")), (3, ("a",))):
        metrics.round_started(number, 4, sites, timeout=60)
        assert value("fedpacs_server_round_started_timestamp_seconds") != 0
        metrics.round_ended(RoundOutcome.COMPLETED, sites, contributed, seconds=1.5)
    assert [missed(site) for site in sites] == [0, 1, 2]
    assert value("fedpacs_server_site_contributions_total", site="a") == before + 3
    assert value("fedpacs_server_round_sites", state="configured") == 3
    assert value("fedpacs_server_round_sites", state="contributed") == 1
    assert value("fedpacs_server_round_started_timestamp_seconds") == 0

    metrics.round_started(4, 4, sites, timeout=60)
    metrics.round_ended(RoundOutcome.COMPLETED, sites, sites, seconds=1.5)
    assert [missed(site) for site in sites] == [0, 0, 0]


def test_a_new_job_starts_without_old_misses() -> None:
    metrics.round_ended(RoundOutcome.BELOW_QUORUM, ("x",), (), seconds=1.0)
    metrics.round_started(1, 2, ("x",), timeout=60)
    assert missed("x") == 0
    metrics.round_ended(RoundOutcome.BELOW_QUORUM, ("x",), (), seconds=1.0)
    assert missed("x") == 1


def test_updates_registered_sites_and_sums() -> None:
    metrics.start()
    before = value("fedpacs_server_update_bytes_total") or 0.0
    metrics.update_received(UpdateOutcome.ADDED, 1000, add_seconds=0.04)
    metrics.update_received(UpdateOutcome.REFUSED, 10)
    metrics.sum_sent(300)
    metrics.aggregation_failed()
    metrics.sites_registered({"a": 12.0, "b": 13.0})
    assert value("fedpacs_server_update_bytes_total") == before + 1010
    assert value("fedpacs_server_round_sites", state=SiteCount.REGISTERED) == 2
    assert value("fedpacs_server_site_last_heartbeat_timestamp_seconds", site="b") == 13.0
