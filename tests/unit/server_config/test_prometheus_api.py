from __future__ import annotations

from server_config.monitoring.dashboards.prometheus_api import _named, filled_in


def test_grafanas_variables_are_filled_in() -> None:
    expr = 'rate(x_total{site=~"$site"}[$__rate_interval]) + increase(y_total[$__range])'
    assert filled_in(expr) == 'rate(x_total{site=~".+"}[15s]) + increase(y_total[1h])'
    assert 'site=~"a|b"' in filled_in(expr, site="a|b")


def test_legends_take_labels_and_lose_those_that_a_series_has_not() -> None:
    assert _named("{{outcome}} {{site}}", {"outcome": "stored", "site": "a"}) == "stored a"
    assert _named("open {{site}}", {}) == "open"
    assert _named("{{site}}", {}) == "all"
