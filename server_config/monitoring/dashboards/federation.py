"""*Federation*: registered, configured and contributed are three different numbers."""

from __future__ import annotations

from server_config.monitoring.dashboards.panels import Dashboard, Panel, Query, Row, increase, mean, quantile, rate

SERVER = 'job="fedpacs-server"'
NO_JOB = "No job runs: these figures belong to a running job."

SITES = Row(
    "Who takes part?",
    (
        Panel(
            "Registered",
            "Sites that the server hears.",
            "short",
            (Query('fedpacs_server_round_sites{state="registered"}'),),
            "The server does not answer Prometheus: see ServerDown.",
            "stat", 4,
        ),
        Panel(
            "Configured",
            "Sites that the running job is to train at.",
            "short",
            (Query('fedpacs_server_round_sites{state="configured"}'),),
            NO_JOB,
            "stat", 4,
        ),
        Panel(
            "Contributed",
            "Sites in the last round's sum. Fewer than configured: the model knows nothing of the others' patients.",
            "short",
            (Query('fedpacs_server_round_sites{state="contributed"}'),),
            NO_JOB,
            "stat", 4,
        ),
        Panel(
            "Round",
            "The running round, and how many the job is to have.",
            "short",
            (Query("fedpacs_server_round", "round"), Query("fedpacs_server_rounds_planned", "of")),
            NO_JOB,
            "stat", 6,
        ),
        Panel(
            "Round runs for",
            "Against its timeout. Above it: RoundOverdue.",
            "s",
            (
                Query("time() - (fedpacs_server_round_started_timestamp_seconds > 0) or vector(0)", "running"),
                Query("fedpacs_server_round_timeout_seconds", "timeout"),
            ),
            NO_JOB,
            "stat", 6,
        ),
        Panel(
            "Rounds missed in a row",
            "By site. From two on: SiteNotContributing.",
            "short",
            (Query("fedpacs_server_site_rounds_missed", "{{site}}"),),
            NO_JOB,
            warn=1, bad=2,
        ),
        Panel(
            "Contributions",
            "Rounds whose sum contains the site, since the server started.",
            "short",
            (Query("fedpacs_server_site_contributions_total", "{{site}}"),),
            "No round was completed since the server started.",
        ),
        Panel(
            "Since the last heartbeat",
            "By site, as the server hears it.",
            "s",
            (Query("time() - fedpacs_server_site_last_heartbeat_timestamp_seconds", "{{site}}"),),
            "No site is registered.",
            warn=60, bad=300,
        ),
    ),
)  # fmt: skip

ROUNDS = Row(
    "How do rounds go?",
    (
        Panel(
            "Rounds by outcome",
            "below_quorum and failed end without a sum: AggregationFailing.",
            "short",
            (Query(increase("fedpacs_server_rounds_total", "outcome", SERVER), "{{outcome}}"),),
            "The server does not answer Prometheus: see ServerDown.",
            "bars",
        ),
        Panel(
            "Seconds a round",
            "From the tasks to the sum: training, encryption and the wire of the slowest site.",
            "s",
            (
                Query(quantile(0.5, "fedpacs_server_round_seconds", "instance", SERVER), "median"),
                Query(quantile(0.95, "fedpacs_server_round_seconds", "instance", SERVER), "95 %"),
            ),
            "No round ended within the chosen step.",
        ),
        Panel(
            "Updates by what was done with them",
            "refused: another version or a broken message; late: after the timeout; empty: the site sent nothing.",
            "short",
            (Query(increase("fedpacs_server_updates_total", "outcome", SERVER), "{{outcome}}"),),
            "The server does not answer Prometheus: see ServerDown.",
            "bars",
        ),
        Panel(
            "Jobs by state",
            "At the server.",
            "short",
            (Query(increase("fedpacs_server_jobs_total", "state", SERVER), "{{state}}"),),
            "The server does not answer Prometheus: see ServerDown.",
            "bars",
        ),
        Panel(
            "Sites' time in a round",
            "From the task to the site's answer, mean by site: who is the slowest?",
            "s",
            (Query(mean("fedpacs_round_seconds", "site", 'job="fedpacs-node"'), "{{site}}"),),
            "No site ended a round within the chosen step, or Prometheus scrapes no nodes.",
        ),
        Panel(
            "Nodes in the federation",
            "1: connected, by the node's own account.",
            "none",
            (Query("fedpacs_federation_connected", "{{site}}"),),
            "Prometheus scrapes no nodes.",
        ),
    ),
)

MACHINE = Row(
    "What does the server use?",
    (
        Panel(
            "Memory by role",
            "The server adds ciphertexts as they arrive: it should not grow with the number of sites.",
            "bytes",
            (Query(f"fedpacs_process_resident_memory_bytes{{{SERVER}}}", "{{role}}"),),
            "The server does not answer Prometheus: see ServerDown.",
            width=12,
        ),
        Panel(
            "CPU by role",
            "Cores in use.",
            "short",
            (Query(rate("fedpacs_process_cpu_seconds_total", "role", SERVER), "{{role}}"),),
            "Too few scrapes yet: wait for a minute.",
            width=12,
        ),
    ),
)

DASHBOARD = Dashboard(
    "fedpacs-federation",
    "fedpacs · Federation",
    "Which sites take part, and how do rounds go? For the consortium's lead.",
    (SITES, ROUNDS, MACHINE),
)
