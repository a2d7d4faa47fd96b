"""*DICOM intake and de-identification*: from the association to the archive."""

from __future__ import annotations

from server_config.monitoring.dashboards.panels import (
    NODE,
    Dashboard,
    Panel,
    Query,
    Row,
    increase,
    mean,
    quantile,
    rate,
)

QUIET = "Nothing was received within the chosen step."

WIRE = Row(
    "On the wire",
    (
        Panel(
            "Associations open",
            "Open now, over all listener processes, and accepted a second. At dicom.max_associations a process further"
            " ones are rejected.",
            "short",
            (
                Query(f"sum by (site) (fedpacs_associations_open{{{NODE}}})", "open {{site}}"),
                Query(rate("fedpacs_associations_accepted_total", "site"), "accepted a second {{site}}"),
            ),
            "No association was opened since the listeners started.",
        ),
        Panel(
            "Associations rejected",
            "unknown_*: somebody who is not in dicom.peers calls. disk_low: free space. too_many: raise processes.",
            "short",
            (Query(increase("fedpacs_association_rejects_total", "reason"), "{{reason}}"),),
            "No node has started to count.",
            "bars",
        ),
        Panel(
            "Associations ended",
            "aborted or timed_out: the PACS gave up, or the network did.",
            "short",
            (Query(increase("fedpacs_associations_ended_total", "end"), "{{end}}"),),
            "No node has started to count.",
            "bars",
        ),
        Panel(
            "C-STORE requests by answer",
            "A second. Everything but stored and duplicate needs a look.",
            "ops",
            (Query(rate("fedpacs_received_instances_total", "outcome"), "{{outcome}}"),),
            "No node has started to count.",
        ),
        Panel(
            "Bytes received",
            "A second, by answer.",
            "Bps",
            (Query(rate("fedpacs_received_bytes_total", "outcome"), "{{outcome}}"),),
            "No node has started to count.",
        ),
        Panel(
            "From data set to answer",
            "Durable storage included. A slow tail is the disk, or commits that queue.",
            "s",
            (
                Query(quantile(0.5, "fedpacs_receive_seconds", "site"), "median {{site}}"),
                Query(quantile(0.99, "fedpacs_receive_seconds", "site"), "99 % {{site}}"),
            ),
            QUIET,
        ),
        Panel(
            "Group commits",
            "Mean seconds of a commit, and instances in one: many in one is how the disk keeps up.",
            "short",
            (
                Query(mean("fedpacs_commit_seconds", "site"), "seconds {{site}}"),
                Query(mean("fedpacs_commit_instances", "site"), "instances {{site}}"),
            ),
            QUIET,
        ),
        Panel(
            "Commits that failed",
            "The PACS was told to keep these instances. Look at the disk and at the catalogue.",
            "short",
            (Query(increase("fedpacs_commit_failures_total", "site"), "{{site}}"),),
            "No node has started to count.",
            "bars",
        ),
        Panel(
            "Peers that answer",
            "1: the last C-ECHO was answered. 0 for five minutes: PacsUnreachable.",
            "none",
            (Query(f"fedpacs_peer_up{{{NODE}}}", "{{peer}} {{site}}"),),
            "No peer has an address to call (dicom.peers: host and port).",
        ),
        Panel(
            "Pulls",
            "Studies that the node asked for, by the state they reached, and instances that came of it.",
            "short",
            (
                Query(increase("fedpacs_pulls_total", "state"), "{{state}}"),
                Query(increase("fedpacs_pulled_instances_total", "site"), "instances {{site}}"),
            ),
            "No node has started to count.",
            "bars",
        ),
    ),
)

WORKERS = Row(
    "In the workers",
    (
        Panel(
            "Spool",
            "Instances that wait.",
            "short",
            (Query(f"fedpacs_spool_instances{{{NODE}}}", "{{site}}"),),
            "The node does not report its spool: see MetricsIncomplete.",
        ),
        Panel(
            "Age of the oldest",
            "Above a quarter of an hour: SpoolAgeing.",
            "s",
            (Query(f"fedpacs_spool_oldest_age_seconds{{{NODE}}}", "{{site}}"),),
            "The node does not report its spool: see MetricsIncomplete.",
            warn=300, bad=900,
        ),
        Panel(
            "Instances by what became of them",
            "A second. quarantined: set aside with a reason; retried: failed and will be tried again.",
            "ops",
            (Query(rate("fedpacs_processed_instances_total", "outcome"), "{{outcome}}"),),
            "No node has started to count.",
        ),
        Panel(
            "Bytes archived",
            "A second, as received.",
            "Bps",
            (Query(rate("fedpacs_processed_bytes_total", "site"), "{{site}}"),),
            "No node has started to count.",
        ),
        Panel(
            "Seconds by step",
            "Mean for one instance: unseal, deidentify, archive, finish.",
            "s",
            (Query(mean("fedpacs_intake_seconds", "step"), "{{step}}"),),
            QUIET,
        ),
        Panel(
            "De-identification actions",
            "Attributes a second by PS3.15 action. A sudden change: the scanner or its export was updated.",
            "ops",
            (Query(rate("fedpacs_deidentification_actions_total", "action"), "{{action}}"),),
            QUIET,
        ),
        Panel(
            "Quarantined by reason",
            "More than twenty in a quarter of an hour: QuarantineBurst.",
            "short",
            (Query(increase("fedpacs_quarantined_instances_total", "reason"), "{{reason}}"),),
            "Nothing has been quarantined since the node started.",
            "bars",
        ),
        Panel(
            "Studies sealed",
            "By whether the PACS counts as many instances. incomplete: some never came, pull the study.",
            "short",
            (Query(increase("fedpacs_studies_sealed_total", "completeness"), "{{completeness}}"),),
            "No node has started to count.",
            "bars",
        ),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    "fedpacs-intake",
    "fedpacs · DICOM intake and de-identification",
    "From the PACS' association to the archive. For the hospital's IT and PACS administrator.",
    (WIRE, WORKERS),
)
