"""*Hospital node*: is it up, is it in the federation, has it room."""

from __future__ import annotations

from server_config.monitoring.dashboards.panels import NODE, Dashboard, Panel, Query, Row, increase, rate

HEALTH = Row(
    "Is it well?",
    (
        Panel(
            "Node answers",
            "1: Prometheus reaches the node. 0: see NodeDown in the runbook.",
            "none",
            (Query(f'min by (site) (up{{job="fedpacs-node", {NODE}}})', "{{site}}"),),
            "No node is configured in Prometheus: add it to scrape_configs.",
            "stat", 4, warn=1, bad=0.5, low=True,
        ),
        Panel(
            "In the federation",
            "1: connected to the NVFlare server. 0 on a node that answers: it takes part in nothing (NotInFederation).",
            "none",
            (Query(f"min by (site) (fedpacs_federation_connected{{{NODE}}})", "{{site}}"),),
            "The node has not told: its NVFlare client is starting, or is too old.",
            "stat", 4, warn=1, bad=0.5, low=True,
        ),
        Panel(
            "Since the last heartbeat",
            "Time since the NVFlare server last answered. Above five minutes: NotInFederation.",
            "s",
            (
                Query(
                    f"time() - max by (site) (fedpacs_federation_last_heartbeat_timestamp_seconds{{{NODE}}})",
                    "{{site}}",
                ),
            ),
            "No heartbeat was answered since the node started.",
            "stat", 4, warn=120, bad=300,
        ),
        Panel(
            "Alerts firing",
            "Each has a section in docs/runbook.md.",
            "short",
            (Query(f'count by (site) (ALERTS{{alertstate="firing", {NODE}}}) or vector(0)', "{{site}}"),),
            "Prometheus evaluates no rules: load alerts.yml.",
            "stat", 4, warn=1, bad=3,
        ),
        Panel(
            "Storage free",
            "Share of the file system below storage. Below a tenth: DiskLow.",
            "percentunit",
            (Query(f"min by (site) (instance:fedpacs_storage_free:ratio{{{NODE}}})", "{{site}}"),),
            "Prometheus evaluates no recording rules: load recording.yml.",
            "stat", 4, warn=0.2, bad=0.1, low=True,
        ),
        Panel(
            "First certificate ends in",
            "The earliest of kit, DICOM and metrics certificates. Below thirty days: CertificateExpiring.",
            "s",
            (Query(f"min by (site) (fedpacs_certificate_expiry_timestamp_seconds{{{NODE}}}) - time()", "{{site}}"),),
            "The node found no certificate to read in its kit.",
            "stat", 4, warn=2592000, bad=604800, low=True,
        ),
    ),
)  # fmt: skip

WORK = Row(
    "What is it doing?",
    (
        Panel(
            "Instances a second",
            "Received from the PACS, and finished by the workers. The second stays behind: the spool grows.",
            "ops",
            (
                Query(f"instance:fedpacs_received_instances:rate5m{{{NODE}}}", "received {{site}}"),
                Query(f"instance:fedpacs_processed_instances:rate5m{{{NODE}}}", "archived {{site}}"),
            ),
            "Nothing was received in the last five minutes.",
        ),
        Panel(
            "Waiting in the spool",
            "Received instances that no worker has finished.",
            "short",
            (Query(f"fedpacs_spool_instances{{{NODE}}}", "{{site}}"),),
            "The node does not report its spool: see MetricsIncomplete.",
        ),
        Panel(
            "Archive",
            "Series and instances that are de-identified and archived.",
            "short",
            (
                Query(f"fedpacs_archive_instances{{{NODE}}}", "instances {{site}}"),
                Query(f"fedpacs_archive_series{{{NODE}}}", "series {{site}}"),
            ),
            "The node has not read its catalogue yet.",
        ),
        Panel(
            "Studies",
            "Open studies may still grow; sealed ones can be trained on.",
            "short",
            (Query(f"fedpacs_studies{{{NODE}}}", "{{state}} {{site}}"),),
            "The node has not read its catalogue yet.",
        ),
        Panel(
            "In quarantine",
            "Instances set aside; fedpacs status names the cure of each reason.",
            "short",
            (Query(f"fedpacs_quarantine_instances{{{NODE}}}", "{{site}}"),),
            "The node has not read its catalogue yet.",
            warn=1,
        ),
        Panel(
            "Jobs",
            "NVFlare jobs by the state they reached, and running now. refused: the site's policy said no; see its log.",
            "short",
            (
                Query(increase("fedpacs_jobs_total", "site, state"), "{{state}} {{site}}"),
                Query(f"fedpacs_jobs_running{{{NODE}}}", "running {{site}}"),
            ),
            "The node has not counted a job yet.",
            "bars",
        ),
    ),
)

MACHINE = Row(
    "What does it use?",
    (
        Panel(
            "Free bytes and reserve",
            "At the reserve (intake.min_free_bytes) the listener rejects the PACS' associations.",
            "bytes",
            (
                Query(f"fedpacs_storage_free_bytes{{{NODE}}}", "free {{site}}"),
                Query(f"fedpacs_storage_reserve_bytes{{{NODE}}}", "reserve {{site}}"),
            ),
            "The node does not report its disk: see MetricsIncomplete.",
        ),
        Panel(
            "Memory by role",
            "Resident memory of the node's processes. Jobs take most; listeners should stay flat.",
            "bytes",
            (Query(f"fedpacs_process_resident_memory_bytes{{{NODE}}}", "{{role}} {{site}}"),),
            "The node does not report its processes: see MetricsIncomplete.",
        ),
        Panel(
            "CPU by role",
            "Cores in use by the node's processes.",
            "short",
            (Query(rate("fedpacs_process_cpu_seconds_total", "site, role"), "{{role}} {{site}}"),),
            "Too few scrapes yet: wait for a minute.",
        ),
        Panel(
            "Processes missing",
            "Listeners and workers that are configured and do not run. Above zero: ProcessMissing.",
            "short",
            (
                Query(
                    f"fedpacs_processes_expected{{{NODE}}} - on (instance, site, job, role) "
                    f"(fedpacs_processes{{{NODE}}} or fedpacs_processes_expected * 0)",
                    "{{role}} {{site}}",
                ),
            ),
            "The node does not report its processes: see MetricsIncomplete.",
            warn=1, bad=1,
        ),
        Panel(
            "Clock skew",
            "Distance of the node's clock to Prometheus'. Above ten seconds: ClockSkew.",
            "s",
            (Query(f"instance:fedpacs_clock_skew:seconds{{{NODE}}}", "{{site}}"),),
            "Prometheus evaluates no recording rules: load recording.yml.",
            warn=5, bad=10,
        ),
        Panel(
            "Series and scrape",
            "Series that the node shows (limit 2,000) and how long a scrape takes.",
            "short",
            (
                Query(f"instance:fedpacs_series:count{{{NODE}}}", "series {{site}}"),
                Query(f'1000 * scrape_duration_seconds{{job="fedpacs-node", {NODE}}}', "scrape, ms {{site}}"),
            ),
            "Prometheus evaluates no recording rules: load recording.yml.",
        ),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    "fedpacs-node",
    "fedpacs · Hospital node",
    "Is the node up, in the federation, and has it room? For the hospital's IT.",
    (HEALTH, WORK, MACHINE),
)
