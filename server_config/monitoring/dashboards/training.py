"""*Training*: what the running job does at the hospitals."""

from __future__ import annotations

from server_config.monitoring.dashboards.panels import NODE, Dashboard, Panel, Query, Row, mean, rate

NO_JOB = "No job runs at this site: these figures belong to a running job."

MODEL = Row(
    "How does the model do?",
    (
        Panel(
            "Round",
            "That the site is in.",
            "short",
            (Query(f"fedpacs_round{{{NODE}}}", "{{site}}"),),
            NO_JOB,
            "stat", 6,
        ),
        Panel(
            "Since the last contribution",
            "Time since the site's last complete update left. Longer than a round: see UpdateNotSent.",
            "s",
            (Query(f"time() - fedpacs_last_contribution_timestamp_seconds{{{NODE}}}", "{{site}}"),),
            NO_JOB,
            "stat", 6,
        ),
        Panel(
            "Cohort",
            "Patients and images, rounded so that the figure names nobody.",
            "short",
            (
                Query(f"fedpacs_cohort_patients{{{NODE}}}", "patients {{site}}"),
                Query(f"fedpacs_cohort_images{{{NODE}}}", "images {{site}}"),
            ),
            NO_JOB,
            "stat", 6,
        ),
        Panel(
            "Jobs refused",
            "By the rule of the site's policy that refused them.",
            "short",
            (Query(f"sum by (reason) (increase(fedpacs_jobs_refused_total{{{NODE}}}[$__range]))", "{{reason}}"),),
            "No job has been refused since the node started.",
            "stat", 6,
        ),
        Panel(
            "Training loss",
            "Mean over the last round. Rising at one site only: look at its data first.",
            "short",
            (Query(f"fedpacs_training_loss{{{NODE}}}", "{{site}}"),),
            NO_JOB,
            width=12,
        ),
        Panel(
            "Validation",
            "Quality on the site's own held-out data, by metric.",
            "short",
            (Query(f"fedpacs_validation_quality{{{NODE}}}", "{{metric}} {{site}}"),),
            NO_JOB,
            width=12,
        ),
    ),
)  # fmt: skip

SPEED = Row(
    "Where does the time go?",
    (
        Panel(
            "Samples a second",
            "Training samples that the site sees.",
            "ops",
            (Query(rate("fedpacs_trained_samples_total", "site"), "{{site}}"),),
            "No node has started to count.",
        ),
        Panel(
            "Share of waiting for data",
            "Of the training time. Above a half: the storage or the CPU is too slow for the GPU.",
            "percentunit",
            (Query(f"instance:fedpacs_training_data:ratio_rate5m{{{NODE}}}", "{{site}}"),),
            "Nothing was trained in the last five minutes.",
            warn=0.3, bad=0.5,
        ),
        Panel(
            "Seconds a round",
            "From the task to the site's answer, mean.",
            "s",
            (Query(mean("fedpacs_round_seconds", "site"), "{{site}}"),),
            "No round ended within the chosen step.",
        ),
        Panel(
            "Steps and epochs",
            "Optimiser steps and epochs a second.",
            "ops",
            (
                Query(rate("fedpacs_local_steps_total", "site"), "steps {{site}}"),
                Query(rate("fedpacs_local_epochs_total", "site"), "epochs {{site}}"),
            ),
            "No node has started to count.",
        ),
        Panel(
            "Memory of job processes",
            "Resident.",
            "bytes",
            (Query(f'fedpacs_process_resident_memory_bytes{{role="job", {NODE}}}', "{{site}}"),),
            NO_JOB,
        ),
        Panel(
            "GPU",
            "Share of the time that the GPU computed, and of its memory that is in use.",
            "percentunit",
            (
                Query(f"fedpacs_gpu_utilization_ratio{{{NODE}}}", "busy {{gpu}} {{site}}"),
                Query(f"fedpacs_gpu_memory_used_bytes{{{NODE}}} / fedpacs_gpu_memory_bytes", "memory {{gpu}} {{site}}"),
            ),
            "The node has no NVIDIA GPU, or nvidia-smi is not installed.",
        ),
        Panel(
            "NVFlare's own events",
            "Mean seconds between the paired events of NVFlare's metrics collectors.",
            "s",
            (Query(mean("fedpacs_nvflare_event_seconds", "event"), "{{event}}"),),
            "No job with NVFlare's metrics collector ran within the chosen step.",
        ),
    ),
)  # fmt: skip

DASHBOARD = Dashboard(
    "fedpacs-training",
    "fedpacs · Training",
    "What the running job does at the hospitals. For the researcher and the hospital's data steward.",
    (MODEL, SPEED),
)
