"""What is read off the disk, the catalogue and the certificates for a scrape, rather than counted as it happens."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cryptography import x509
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from client_plugin.config import NodeConfig

log = logging.getLogger(__name__)


class CatalogueView(Protocol):
    """The part of the archive's catalogue that is read."""

    def counts(self) -> Mapping[str, int]: ...

    def backlog(self) -> tuple[int, datetime | None]: ...


@dataclass(frozen=True)
class Facts:
    """One reading. Times in seconds since 1970, sizes in bytes."""

    at: float
    free_bytes: int
    total_bytes: int
    catalogue_bytes: int
    waiting: int = 0
    """Received instances that no worker has finished."""
    oldest: float | None = None
    """When the oldest of them was received."""
    counts: Mapping[str, int] = field(default_factory=dict)
    certificates: Mapping[str, float] = field(default_factory=dict)
    site_key: float | None = None
    """When the site key was made or last rotated."""


def certificate_files(config: NodeConfig) -> dict[str, Path]:
    """Certificates whose expiry stops something, by what stops."""
    files = {"kit": config.kit / "startup" / "client.crt", "kit_root": config.kit / "startup" / "rootCA.pem"}
    if config.dicom.tls:
        files["dicom"] = config.path(config.dicom.tls.certificate)
    if config.metrics.tls:
        files["metrics"] = config.path(config.metrics.tls.certificate)
    return files


def expiry(file: Path) -> float | None:
    """When the first certificate in a PEM file ends, in seconds since 1970; ``None`` when there is none to read."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc.timestamp()
    except (OSError, ValueError):
        return None


def read_facts(config: NodeConfig, catalogue: CatalogueView | None = None) -> Facts:
    """Take one reading of the node's disk, catalogue, certificates and key file."""
    root = config.root
    usage = shutil.disk_usage(root if root.exists() else config.kit)
    expiries = {name: expiry(file) for name, file in certificate_files(config).items()}
    waiting, oldest = catalogue.backlog() if catalogue else (0, None)
    return Facts(
        at=time.time(),
        free_bytes=usage.free,
        total_bytes=usage.total,
        catalogue_bytes=sum(file.stat().st_size for file in root.glob("catalogue.sqlite*")),
        waiting=waiting,
        oldest=oldest.timestamp() if oldest else None,
        counts=catalogue.counts() if catalogue else {},
        certificates={name: when for name, when in expiries.items() if when is not None},
        site_key=config.key_file.stat().st_mtime if config.key_file.exists() else None,
    )


class FactsCollector:
    """Reads :class:`Facts` in its own thread, and shows the last reading: a scrape never waits for a disk.

    Parameters
    ----------
    config
        The node's configuration; ``metrics.facts_seconds`` is the time between two readings.
    catalogue
        The archive's; called from the reading thread.
    """

    def __init__(self, config: NodeConfig, catalogue: CatalogueView | None = None) -> None:
        self._config = config
        self._catalogue = catalogue
        self._interval = config.metrics.facts_seconds
        self._facts: Facts | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-facts", daemon=True)

    def start(self) -> None:
        """Take the first reading now, the others in the background."""
        self._read()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._interval)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._read()

    def _read(self) -> None:
        try:
            self._facts = read_facts(self._config, self._catalogue)
        except Exception:  # the age of the last reading goes up, and an alert says so
            log.exception("the node's disk or catalogue could not be read for its metrics")

    def collect(self) -> Iterator[Metric]:
        if self._facts is not None:
            yield from as_metrics(self._facts, self._config, time.time())


SIZES = {
    "patients": ("fedpacs_archive_patients", "Patients in the archive"),
    "series": ("fedpacs_archive_series", "Series in the archive"),
    "instances": ("fedpacs_archive_instances", "Instances in the archive"),
    "bytes": ("fedpacs_archive_size_bytes", "Bytes of the archived instances, before sealing"),
    "quarantine": ("fedpacs_quarantine_instances", "Instances in quarantine now; fedpacs status names the cures"),
}
"""Key of ``Catalogue.counts`` to metric and help text."""


def as_metrics(facts: Facts, config: NodeConfig, now: float) -> Iterator[Metric]:
    """The reading as Prometheus metrics; pure."""

    def gauge(name: str, help_text: str, value: float) -> Metric:
        return GaugeMetricFamily(name, help_text, value=value)

    yield gauge("fedpacs_time_seconds", "This machine's clock; its distance to Prometheus' own is the skew", now)
    yield gauge(
        "fedpacs_facts_age_seconds",
        "Age of the node's reading of disk, catalogue and certificates; rising: the disk or the catalogue hangs",
        max(0.0, now - facts.at),
    )
    yield gauge("fedpacs_storage_free_bytes", "Free bytes below storage", facts.free_bytes)
    yield gauge("fedpacs_storage_size_bytes", "Size of the file system below storage", facts.total_bytes)
    yield gauge(
        "fedpacs_storage_reserve_bytes",
        "Below so many free bytes the listener rejects associations (intake.min_free_bytes)",
        config.intake.min_free_bytes,
    )
    yield gauge("fedpacs_spool_instances", "Received instances that no worker has finished", facts.waiting)
    yield gauge(
        "fedpacs_spool_oldest_age_seconds",
        "Age of the instance that waits longest, 0 when none does; rising: workers are stuck or too few",
        0.0 if facts.oldest is None else max(0.0, now - facts.oldest),
    )
    yield gauge("fedpacs_catalogue_size_bytes", "Size of the embedded catalogue on disk", facts.catalogue_bytes)
    if facts.counts:
        for key, (name, help_text) in SIZES.items():
            yield gauge(name, help_text, facts.counts[key])
        studies = GaugeMetricFamily(
            "fedpacs_studies", "Studies by state; sealed ones can be trained on", labels=["state"]
        )
        for state in ("open", "sealed"):
            studies.add_metric([state], facts.counts[f"studies_{state}"])
        yield studies
    expected = GaugeMetricFamily("fedpacs_processes_expected", "Processes that should run, by role", labels=["role"])
    expected.add_metric(["listener"], config.dicom.processes)
    expected.add_metric(["worker"], config.intake.workers)
    for role, wanted in (("puller", config.can_pull), ("sender", config.send.enabled)):
        if wanted:  # a role that is not wanted is no series: one of 0 would be missed by the alert on missing ones
            expected.add_metric([role], 1)
    yield expected
    certificates = GaugeMetricFamily(
        "fedpacs_certificate_expiry_timestamp_seconds",
        "When a certificate ends; kit: the node leaves the federation, dicom: the PACS cannot store",
        labels=["certificate"],
    )
    for name, when in sorted(facts.certificates.items()):
        certificates.add_metric([name], when)
    yield certificates
    if facts.site_key is not None:
        yield gauge(
            "fedpacs_site_key_created_timestamp_seconds", "When the site key was made or last rotated", facts.site_key
        )
