"""*Encrypted aggregation*: what the two locks cost in seconds and bytes, and how much room the noise leaves."""

from __future__ import annotations

from server_config.monitoring.dashboards.panels import NODE, Dashboard, Panel, Query, Row, increase, mean, rate

SERVER = 'job="fedpacs-server"'
NO_ROUND = "No round sent or opened an update within the chosen step."

HOSPITAL = Row(
    "At the hospitals",
    (
        Panel(
            "Seconds by step",
            "Mean time of encode, encrypt, mask, serialize and open for one update, and of NVFlare's sending a result.",
            "s",
            (
                Query(mean("fedpacs_sealing_seconds", "step"), "{{step}}"),
                Query(mean("fedpacs_nvflare_event_seconds", "event", f'{NODE}, event="send_task_result"'), "upload"),
            ),
            NO_ROUND,
            width=12,
        ),
        Panel(
            "Bytes by step",
            "What a step put out, a second: upload is what the hospital's line carries.",
            "Bps",
            (Query(rate("fedpacs_sealing_bytes_total", "step"), "{{step}}"),),
            "No node has started to count bytes.",
            width=12,
        ),
        Panel(
            "Noise budget",
            "Bits left in the last opened sum. A few are left by design; none: NoiseBudgetLow.",
            "none",
            (Query(f"fedpacs_noise_budget_bits{{{NODE}}}", "{{site}}"),),
            "No job runs, or it uses masks alone.",
            warn=1, bad=1, low=True,
        ),
        Panel(
            "Steps that failed",
            "Protections fail closed: nothing was sent. See UpdateNotSent.",
            "short",
            (Query(increase("fedpacs_sealing_failures_total", "step, site"), "{{step}} {{site}}"),),
            "No node has started to count.",
            "bars",
        ),
        Panel(
            "Rounds by what the site did",
            "contributed, not_sent (a protection held it back) or failed.",
            "short",
            (Query(increase("fedpacs_rounds_total", "end, site"), "{{end}} {{site}}"),),
            "No node has started to count.",
            "bars",
        ),
    ),
)  # fmt: skip

AT_SERVER = Row(
    "At the server",
    (
        Panel(
            "Seconds to add one update",
            "The server adds what it cannot read; this is its only work on it.",
            "s",
            (Query(mean("fedpacs_server_add_seconds", "instance", SERVER), "mean"),),
            "No update was added within the chosen step.",
        ),
        Panel(
            "Bytes in and out",
            "Encrypted updates that arrived and sums that were sent, a second.",
            "Bps",
            (
                Query(rate("fedpacs_server_update_bytes_total", "instance", SERVER), "updates in"),
                Query(rate("fedpacs_server_sum_bytes_total", "instance", SERVER), "sums out"),
            ),
            "The server does not answer Prometheus: see ServerDown.",
        ),
        Panel(
            "Bytes of one update",
            "Mean size on the wire.",
            "bytes",
            (
                Query(
                    f"{rate('fedpacs_server_update_bytes_total', 'instance', SERVER)}"
                    f" / {rate('fedpacs_server_updates_total', 'instance', SERVER)}",
                    "mean",
                ),
            ),
            "No update arrived within the chosen step.",
        ),
        Panel(
            "Failures",
            "Updates or sums that could not be added up or checked: AggregationFailing.",
            "short",
            (Query(increase("fedpacs_server_aggregation_failures_total", "instance", SERVER), "failures"),),
            "The server does not answer Prometheus: see ServerDown.",
            "bars",
            warn=1,
        ),
    ),
)

DASHBOARD = Dashboard(
    "fedpacs-aggregation",
    "fedpacs · Encrypted aggregation",
    "Seconds, bytes and noise of the encrypted sum. For the consortium's lead and the hospitals.",
    (HOSPITAL, AT_SERVER),
)
