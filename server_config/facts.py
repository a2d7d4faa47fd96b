"""What is read at a scrape of the server, rather than counted."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

from cryptography import x509
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily, Metric


class ServerFacts:
    """Certificates' expiry and versions, read at the scrape."""

    def __init__(self, kit: Path) -> None:
        self._files = {"kit": kit / "startup" / "server.crt", "kit_root": kit / "startup" / "rootCA.pem"}

    def collect(self) -> Iterable[Metric]:
        expiry = GaugeMetricFamily(
            "fedpacs_server_certificate_expiry_timestamp_seconds",
            "When a certificate of the server's kit ends; the federation ends with it",
            labels=["certificate"],
        )
        for name, when in self._expiries():
            expiry.add_metric([name], when)
        yield expiry
        yield GaugeMetricFamily("fedpacs_time_seconds", "The server's clock", value=time.time())
        build = InfoMetricFamily("fedpacs_server_build", "Versions of the server")
        build.add_metric([], {name: version(name) for name in ("fedpacs", "nvflare")})
        yield build

    def _expiries(self) -> Iterator[tuple[str, float]]:
        for name, file in self._files.items():
            try:
                certificate = x509.load_pem_x509_certificate(file.read_bytes())
            except (OSError, ValueError):
                continue
            yield name, certificate.not_valid_after_utc.timestamp()
