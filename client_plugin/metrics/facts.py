"""What is read off the disk, the catalogue and the certificates for a scrape, rather than counted as it happens."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from client_plugin.config import NodeConfig

log = logging.getLogger(__name__)

INTERVAL = 5.0
"""Seconds between two readings: a scrape shows the last one and never waits for a disk."""

Counts = Callable[[], Mapping[str, int]]


@dataclass(frozen=True)
class Spool:
    """Received instances that no worker has taken away yet."""

    instances: int = 0
    bytes: int = 0
    oldest: float | None = None
    """When the oldest was written, in seconds since 1970."""


@dataclass(frozen=True)
class Facts:
    """One reading. Times in seconds since 1970, sizes in bytes."""

    at: float
    free_bytes: int
    total_bytes: int
    spool: Spool
    catalogue_bytes: int
    counts: Mapping[str, int] = field(default_factory=dict)
    certificates: Mapping[str, float] = field(default_factory=dict)


def read_spool(folder: Path) -> Spool:
    """Count the sealed files of the spool; one still being written (hidden, or ``.part``) does not wait for anybody."""
    instances = size = 0
    oldest: float | None = None
    for path in _files(folder):
        if path.name.startswith(".") or path.name.endswith((".part", ".tmp")):
            continue
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue
        instances += 1
        size += stat.st_size
        oldest = stat.st_mtime if oldest is None else min(oldest, stat.st_mtime)
    return Spool(instances, size, oldest)


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except FileNotFoundError:
        return
    with entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path))
            else:
                yield entry


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


def read_facts(config: NodeConfig, counts: Counts | None = None) -> Facts:
    """Take one reading of the node's disk, catalogue and certificates."""
    root = config.root
    usage = shutil.disk_usage(root if root.exists() else config.kit)
    expiries = {name: expiry(file) for name, file in certificate_files(config).items()}
    catalogue = root / "catalogue.sqlite"
    return Facts(
        at=time.time(),
        free_bytes=usage.free,
        total_bytes=usage.total,
        spool=read_spool(config.spool),
        catalogue_bytes=catalogue.stat().st_size if catalogue.exists() else 0,
        counts=counts() if counts else {},
        certificates={name: when for name, when in expiries.items() if when is not None},
    )


class FactsCollector:
    """Reads :class:`Facts` every few seconds in its own thread, and shows the last reading at a scrape.

    Parameters
    ----------
    config
        The node's configuration.
    counts
        ``Catalogue.counts`` of the archive; called from the reading thread.
    interval
        Seconds between readings.
    """

    def __init__(self, config: NodeConfig, counts: Counts | None = None, interval: float = INTERVAL) -> None:
        self._config = config
        self._counts = counts
        self._interval = interval
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
            self._facts = read_facts(self._config, self._counts)
        except Exception:  # the age of the last reading goes up, and an alert says so
            log.exception("the node's disk or catalogue could not be read for its metrics")

    def collect(self) -> Iterator[Metric]:
        if self._facts is not None:
            yield from as_metrics(self._facts, time.time())


def as_metrics(facts: Facts, now: float) -> Iterator[Metric]:
    """The reading as Prometheus metrics; pure."""
    yield GaugeMetricFamily(
        "fedpacs_facts_age_seconds",
        "Age of the node's reading of disk, catalogue and certificates; rising: the disk or the catalogue hangs",
        value=max(0.0, now - facts.at),
    )
    yield GaugeMetricFamily("fedpacs_storage_free_bytes", "Free bytes below storage", value=facts.free_bytes)
    yield GaugeMetricFamily(
        "fedpacs_storage_size_bytes", "Size of the file system below storage", value=facts.total_bytes
    )
    yield GaugeMetricFamily(
        "fedpacs_spool_instances", "Received instances that wait for a worker", value=facts.spool.instances
    )
    yield GaugeMetricFamily("fedpacs_spool_bytes", "Their bytes, sealed", value=facts.spool.bytes)
    yield GaugeMetricFamily(
        "fedpacs_spool_oldest_age_seconds",
        "Age of the instance that waits longest, 0 when none does; rising: workers are stuck or too few",
        value=0.0 if facts.spool.oldest is None else max(0.0, now - facts.spool.oldest),
    )
    yield GaugeMetricFamily(
        "fedpacs_catalogue_size_bytes", "Size of the catalogue on disk", value=facts.catalogue_bytes
    )
    rows = GaugeMetricFamily("fedpacs_catalogue_rows", "What the catalogue holds, by kind", labels=["kind"])
    for kind, count in sorted(facts.counts.items()):
        rows.add_metric([kind], count)
    yield rows
    certificates = GaugeMetricFamily(
        "fedpacs_certificate_expiry_timestamp_seconds",
        "When a certificate ends; kit: the node leaves the federation, dicom: the PACS cannot store",
        labels=["certificate"],
    )
    for name, when in sorted(facts.certificates.items()):
        certificates.add_metric([name], when)
    yield certificates
