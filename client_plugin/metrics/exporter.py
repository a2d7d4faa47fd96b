"""The node's ``/metrics``: figures of all its processes, and what is read at a scrape."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from prometheus_client.metrics_core import InfoMetricFamily, Metric

from client_plugin.archive.models import Completeness
from client_plugin.archive.received import CatalogueReason
from client_plugin.config import ConfigError, MetricsConfig, NodeConfig
from client_plugin.governance.policy import Rule
from client_plugin.intake import deidentify
from client_plugin.intake.reasons import IntakeReason
from client_plugin.metrics import instruments
from client_plugin.metrics.facts import CatalogueView, FactsCollector
from client_plugin.metrics.gpu import Gpus
from observability.exposition import Access, Endpoint
from observability.http import EndpointError
from observability.instruments import registry
from observability.processes import ProcessTree, SharedFigures
from observability.sampling import Collector, Sampled
from observability.setup import folder

COLLECTORS = ("counted", "facts", "processes", "gpus", "build")
"""Names of the parts of a scrape, in their order."""


SAMPLE_INTERVAL = 5.0
"""Seconds between two looks at the node's processes and GPUs."""


class MetricsServer:
    """Starts and stops the node's endpoint; belongs to the node's parent process.

    Parameters
    ----------
    config
        The node's configuration; ``config.metrics`` says where to listen.
    catalogue
        The catalogue of the node's archive.

    Examples
    --------
    First ``observability.setup.share(config.root)``, before anything counts, then::

        server = MetricsServer(config, archive.catalogue)
        server.start()
    """

    def __init__(self, config: NodeConfig, catalogue: CatalogueView | None = None) -> None:
        self._config = config
        self._facts = FactsCollector(config, catalogue)
        self._sampled = (Sampled(ProcessTree(), SAMPLE_INTERVAL), Sampled(Gpus(), SAMPLE_INTERVAL))
        self._endpoint: Endpoint | None = None

    @property
    def url(self) -> str:
        """Where Prometheus finds it."""
        if self._endpoint is None:
            raise ConfigError("the metrics endpoint is not running: call start()")
        return self._endpoint.url

    def start(self) -> None:
        """Listen on ``config.metrics.host:port``.

        Raises
        ------
        ConfigError
            The port is in use, or a file that ``config.metrics`` names cannot be used.
        """
        instruments.start()
        for reasons in (IntakeReason, CatalogueReason, deidentify.Reason):
            instruments.QUARANTINED.start(reasons)
        instruments.DEIDENTIFICATION_ACTIONS.start(deidentify.Done)
        instruments.STUDIES_SEALED.start(Completeness)
        instruments.JOBS_REFUSED.start(rule for rule in Rule if rule is not Rule.ALLOWED)
        metrics = self._config.metrics
        parts: tuple[Collector, ...] = (counted(self._config.root), self._facts, *self._sampled, Build())
        collectors = dict(zip(COLLECTORS, parts, strict=True))
        endpoint = Endpoint(metrics.host, metrics.port, collectors, access(self._config, metrics))
        try:
            endpoint.start()
        except EndpointError as error:
            raise ConfigError(str(error)) from None
        self._facts.start()
        for sampled in self._sampled:
            sampled.start()
        self._endpoint = endpoint

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._endpoint is not None:
            self._endpoint.stop()
            self._facts.stop()
            for sampled in self._sampled:
                sampled.stop()
        self._endpoint = None


def access(config: NodeConfig, metrics: MetricsConfig) -> Access:
    """TLS and credentials of the endpoint, with the secret read from its file."""
    secret = None
    if metrics.secret_file is not None:
        file = config.path(metrics.secret_file)
        try:
            if file.stat().st_mode & 0o077:
                raise ConfigError(f"metrics.secret_file: {file} can be read by others: chmod 600 it")
            secret = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"metrics.secret_file: cannot read {file} ({error.strerror})") from None
        if not secret:
            raise ConfigError(f"metrics.secret_file: {file} is empty: put a password or a token into it")
    return Access(
        certificate=config.path(metrics.tls.certificate) if metrics.tls else None,
        private_key=config.path(metrics.tls.private_key) if metrics.tls else None,
        username=metrics.username,
        password=secret if metrics.username else None,
        bearer=None if metrics.username else secret,
    )


def counted(storage: Path) -> Collector:
    """What this process and its children counted; this process alone when nothing is shared."""
    shared = folder()
    if shared is not None and shared.is_relative_to(storage):
        return SharedFigures(shared)
    return registry()


class Build:
    """Which versions run here."""

    def __init__(self) -> None:
        parts = ("fedpacs", "nvflare", "monai", "pynetdicom", "pydicom")
        self._versions = {name: _version(name) for name in parts} | {"python": platform.python_version()}

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("fedpacs_build", "Versions of the node and of what it is built on", self._versions)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "none"
