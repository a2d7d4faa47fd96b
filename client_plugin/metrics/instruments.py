"""Every metric of the hospital's node, one module-level object each.

    from client_plugin.metrics import instruments as metrics
    from client_plugin.metrics.labels import Reject

    metrics.ASSOCIATION_REJECTS.inc(Reject.UNKNOWN_CALLING_AE)
    with metrics.SEALING_SECONDS.time(SealingStep.ENCRYPT): ...

The help texts are for the person on call. What is read off the disk, the catalogue and the certificates at a
scrape (spool, free bytes, studies, expiry) is in ``facts``; nothing else needs to report it.
"""

from __future__ import annotations

import math
from enum import StrEnum

from client_plugin.metrics.labels import (
    AssociationEnd,
    IntakeStep,
    JobState,
    Processed,
    PullState,
    Quality,
    Received,
    Reject,
    RoundEnd,
    SealingStep,
)
from observability.instruments import (
    LONG_SECONDS,
    Counter,
    CounterBy,
    Gauge,
    GaugeBy,
    Histogram,
    HistogramBy,
    Names,
)

PEERS = Names(limit=64)
"""Names of the DICOM peers in the node's configuration."""

# --- DICOM -----------------------------------------------------------------------------------------------------
ASSOCIATIONS_ACCEPTED = Counter("fedpacs_associations_accepted_total", "DICOM associations the listener accepted")
ASSOCIATIONS_OPEN = Gauge(
    "fedpacs_associations_open", "DICOM associations open now, over all listener processes", mode="livesum"
)
ASSOCIATIONS_ENDED = CounterBy(
    "fedpacs_associations_ended_total",
    "Accepted associations by how they ended; aborted or timed_out: look at the PACS and at the network",
    "end",
    AssociationEnd,
)
ASSOCIATION_REJECTS = CounterBy(
    "fedpacs_association_rejects_total",
    "Associations the listener turned away; unknown_*: somebody who is not in dicom.peers calls, disk_low: free space",
    "reason",
    Reject,
)
RECEIVED_INSTANCES = CounterBy(
    "fedpacs_received_instances_total",
    "C-STORE requests by the answer the PACS got; everything but stored and duplicate needs a look",
    "outcome",
    Received,
)
RECEIVED_BYTES = CounterBy(
    "fedpacs_received_bytes_total", "Bytes of the data sets of C-STORE requests, by the answer", "outcome", Received
)
RECEIVE_SECONDS = HistogramBy(
    "fedpacs_receive_seconds",
    "From a C-STORE's data set to its answer, durable storage included; slow: the disk is, or the commits queue",
    "outcome",
    Received,
)
COMMIT_SECONDS = Histogram("fedpacs_commit_seconds", "One group commit of received instances (fsync and catalogue)")
COMMIT_INSTANCES = Histogram(
    "fedpacs_commit_instances", "Instances in one group commit", buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
COMMIT_FAILURES = Counter(
    "fedpacs_commit_failures_total",
    "Group commits that failed: their peers were told 0xA700 and keep the instances; look at disk and catalogue",
)
PEER_UP = GaugeBy[str](
    "fedpacs_peer_up",
    "1: the peer answered the last C-ECHO, 0: it did not; check the PACS and the network",
    "peer",
    PEERS,
)
PULLS = CounterBy("fedpacs_pulls_total", "Pulls of studies by the state they reached", "state", PullState)
PULLED_INSTANCES = Counter("fedpacs_pulled_instances_total", "Instances that arrived because the node asked for them")
STUDIES_SEALED = CounterBy[StrEnum](
    "fedpacs_studies_sealed_total",
    "Study versions sealed, by whether the PACS counts as many instances; incomplete: some never came, pull the study",
    "completeness",
    StrEnum,
)

# --- intake ----------------------------------------------------------------------------------------------------
PROCESSED_INSTANCES = CounterBy(
    "fedpacs_processed_instances_total",
    "Received instances by what became of them in the intake workers",
    "outcome",
    Processed,
)
PROCESSED_BYTES = Counter("fedpacs_processed_bytes_total", "Bytes of instances that the workers archived")
INTAKE_SECONDS = HistogramBy(
    "fedpacs_intake_seconds", "Time of a step of the intake of one instance", "step", IntakeStep
)
DEIDENTIFICATION_ACTIONS = CounterBy[StrEnum](
    "fedpacs_deidentification_actions_total",
    "Attributes by the PS3.15 action that was taken on them",
    "action",
    StrEnum,
)
QUARANTINED = CounterBy[StrEnum](
    "fedpacs_quarantined_instances_total",
    "Instances set aside, sealed, because they could not be de-identified or kept; fedpacs status names the cure",
    "reason",
    StrEnum,
)

# --- jobs and training -----------------------------------------------------------------------------------------
JOBS = CounterBy("fedpacs_jobs_total", "NVFlare jobs at this site by the state they reached", "state", JobState)
JOBS_RUNNING = Gauge("fedpacs_jobs_running", "Jobs that run at this site now", mode="livesum")
JOBS_REFUSED = CounterBy[StrEnum](
    "fedpacs_jobs_refused_total", "Jobs that this site's policy refused, by the rule that did", "reason", StrEnum
)
COHORT_PATIENTS = Gauge(
    "fedpacs_cohort_patients", "Patients in the running job's cohort, rounded up to a multiple of 5"
)
COHORT_IMAGES = Gauge("fedpacs_cohort_images", "Images in the running job's cohort, rounded up to two digits")
ROUND = Gauge("fedpacs_round", "Round that the running job is in, counted from 1")
ROUNDS = CounterBy(
    "fedpacs_rounds_total",
    "Rounds by what this site did; not_sent: a protection could not do its work, so nothing left the site",
    "end",
    RoundEnd,
)
ROUND_SECONDS = Histogram("fedpacs_round_seconds", "From a round's task to this site's answer", buckets=LONG_SECONDS)
LAST_CONTRIBUTION = Gauge(
    "fedpacs_last_contribution_timestamp_seconds", "When this site last sent an update that was complete"
)
LOCAL_EPOCHS = Counter(
    "fedpacs_local_epochs_total", "Epochs trained at this site: samples drawn over samples there are"
)
LOCAL_STEPS = Counter("fedpacs_local_steps_total", "Optimiser steps taken at this site")
TRAINED_SAMPLES = Counter("fedpacs_trained_samples_total", "Training samples seen; its rate is samples per second")
DATA_SECONDS = Counter(
    "fedpacs_training_data_seconds_total", "Time that training waited for data; a high share: storage or CPU is short"
)
COMPUTE_SECONDS = Counter("fedpacs_training_compute_seconds_total", "Time of forward, backward and optimiser steps")
TRAINING_LOSS = Gauge("fedpacs_training_loss", "Mean training loss of the last round at this site")
VALIDATION = GaugeBy(
    "fedpacs_validation_quality", "Last validation on this site's held-out data, by metric", "metric", Quality
)

# --- privacy and encryption ------------------------------------------------------------------------------------
SEALING_SECONDS = HistogramBy(
    "fedpacs_sealing_seconds",
    "Time of a step between the trained update and the wire, and back",
    "step",
    SealingStep,
)
TIMED_STEPS = (
    SealingStep.ENCODE, SealingStep.MASK, SealingStep.ENCRYPT, SealingStep.SERIALIZE, SealingStep.OPEN,
)  # fmt: skip
"""Steps that are timed in every round; NVFlare's own events time what is on the wire."""
SEALING_BYTES = CounterBy(
    "fedpacs_sealing_bytes_total", "Bytes that a step of sealing or opening put out", "step", SealingStep
)
SEALING_FAILURES = CounterBy(
    "fedpacs_sealing_failures_total", "Steps of sealing or opening that failed; nothing was sent", "step", SealingStep
)
NOISE_BUDGET = Gauge(
    "fedpacs_noise_budget_bits",
    "Least noise budget of the last opened sum; a few bits are left by design, at 0 it would be garbage",
    mode="livemin",
)

# --- federation ------------------------------------------------------------------------------------------------
FEDERATION_CONNECTED = Gauge(
    "fedpacs_federation_connected", "1: registered with the NVFlare server and heard by it, 0: not; the node is alone"
)
LAST_HEARTBEAT = Gauge(
    "fedpacs_federation_last_heartbeat_timestamp_seconds", "When the NVFlare server last answered a heartbeat"
)


def cohort(patients: int, images: int) -> None:
    """Report the cohort of the running job, rounded so that the figure names nobody.

    Parameters
    ----------
    patients
        Rounded up to a multiple of 5.
    images
        Rounded up to two significant digits.
    """
    COHORT_PATIENTS.set(5 * math.ceil(patients / 5))
    digits = max(0, len(str(images)) - 2)
    COHORT_IMAGES.set(math.ceil(images / 10**digits) * 10**digits)


def start() -> None:
    """Show counters and histograms at zero, so that the first increment of each is seen as one.

    Of histograms with a label only values that occur in every round: each is a dozen of series.
    """
    for one in (
        ASSOCIATIONS_ACCEPTED, PULLED_INSTANCES, PROCESSED_BYTES, LOCAL_EPOCHS, LOCAL_STEPS, TRAINED_SAMPLES,
        DATA_SECONDS, COMPUTE_SECONDS, COMMIT_FAILURES, COMMIT_SECONDS, COMMIT_INSTANCES, ROUND_SECONDS,
    ):  # fmt: skip
        one.start()
    for by in (
        ASSOCIATIONS_ENDED, ASSOCIATION_REJECTS, RECEIVED_INSTANCES, RECEIVED_BYTES, PULLS, PROCESSED_INSTANCES, JOBS,
        ROUNDS, SEALING_BYTES, SEALING_FAILURES,
    ):  # fmt: skip
        by.start()
    SEALING_SECONDS.start(TIMED_STEPS)
