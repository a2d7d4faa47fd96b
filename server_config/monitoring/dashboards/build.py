"""Builds the dashboards into ``../grafana/*.json`` with grafana-foundation-sdk (extra ``test``), for file provisioning.

python -m server_config.monitoring.dashboards.build          # write
python -m server_config.monitoring.dashboards.build --check  # fail when a file is stale
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus as prometheus_builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as common_models
from grafana_foundation_sdk.models import dashboard as models

from server_config.monitoring.dashboards import aggregation, federation, intake, node, training
from server_config.monitoring.dashboards.panels import Dashboard, Panel

FOLDER = Path(__file__).parents[1] / "grafana"
DASHBOARDS = (node.DASHBOARD, federation.DASHBOARD, aggregation.DASHBOARD, intake.DASHBOARD, training.DASHBOARD)
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

GREEN, AMBER, RED = "green", "orange", "red"


def main() -> int:
    """Write or check the files; 1 when a check finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files, write nothing")
    check = parser.parse_args().check
    stale = []
    for dashboard in DASHBOARDS:
        path = FOLDER / f"{dashboard.uid}.json"
        text = rendered(dashboard)
        if not check:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(path.name)
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: build the dashboards again\n")
    return 1 if stale else 0


def rendered(dashboard: Dashboard) -> str:
    """The dashboard's JSON text."""
    return json.dumps(build(dashboard), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def build(dashboard: Dashboard) -> Any:
    """The dashboard as the SDK's model."""
    builder = (
        builders.Dashboard(dashboard.title)
        .uid(dashboard.uid)
        .description(dashboard.description)
        .tags(["fedpacs"])
        .readonly()
        .timezone("browser")
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .with_variable(builders.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(
            builders.QueryVariable("site")
            .label("Site")
            .datasource(SOURCE)
            .query('label_values(up{job="fedpacs-node"}, site)')
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(True)
            .include_all(True)
            .all_value(".+")
        )
        .link(
            builders.DashboardLink("fedpacs")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags(["fedpacs"])
            .as_dropdown(True)
            .keep_time(True)
        )
    )
    number = itertools.count(1)
    for row in dashboard.rows:
        builder.with_row(builders.Row(row.title).id(next(number)))
        for panel in row.panels:
            builder.with_panel(_panel(panel).id(next(number)))
    return builder.build()


def _panel(panel: Panel) -> Any:
    builder: Any = stat.Panel() if panel.kind == "stat" else timeseries.Panel()
    builder.title(panel.title).description(panel.description).unit(panel.unit).no_value(panel.empty)
    builder.datasource(SOURCE).span(panel.width).height(4 if panel.kind == "stat" else 8).min(0)
    for number, query in enumerate(panel.queries):
        target = prometheus_builders.Dataquery().expr(query.expr).ref_id(chr(ord("A") + number)).datasource(SOURCE)
        target.legend_format(query.legend or panel.title)
        builder.with_target(target.instant() if panel.kind == "stat" else target.range())
    if panel.kind == "stat":
        builder.graph_mode(common_models.BigValueGraphMode.NONE)
        builder.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(False))
        builder.text_mode(common_models.BigValueTextMode.VALUE_AND_NAME)
    else:
        builder.legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(common_models.LegendDisplayMode.LIST)
            .placement(common_models.LegendPlacement.BOTTOM)
        )
        builder.tooltip(common.VizTooltipOptions().mode(common_models.TooltipDisplayMode.MULTI))
    if panel.kind == "bars":
        builder.draw_style(common_models.GraphDrawStyle.BARS).fill_opacity(80)
        builder.stacking(common.StackingConfig().mode(common_models.StackingMode.NORMAL))
    if panel.warn is not None or panel.bad is not None:
        builder.thresholds(_thresholds(panel))
        if panel.kind == "lines":
            builder.thresholds_style(
                common.GraphThresholdsStyleConfig().mode(common_models.GraphTresholdsStyleMode.DASHED)
            )
    return builder


def _thresholds(panel: Panel) -> builders.ThresholdsConfig:
    """From good to bad upwards, or with ``low`` from bad to good."""
    limits = [(panel.warn, AMBER), (panel.bad, RED)]
    if panel.low:
        steps = [models.Threshold(value=None, color=RED)]
        if panel.bad is not None:
            steps.append(models.Threshold(value=panel.bad, color=AMBER))
        steps.append(models.Threshold(value=panel.warn, color=GREEN))
    else:
        steps = [models.Threshold(value=None, color=GREEN)]
        steps += [models.Threshold(value=limit, color=color) for limit, color in limits if limit is not None]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(steps)


if __name__ == "__main__":
    raise SystemExit(main())
