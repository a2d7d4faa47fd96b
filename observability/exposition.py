"""The HTTP endpoint that Prometheus scrapes: text or OpenMetrics, optional TLS and credentials."""

from __future__ import annotations

import base64
import gzip
import hmac
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from observability.http import HttpServer
from observability.logs import fields
from observability.sampling import Collector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Access:
    """Who may scrape, and how the connection is protected. Without any: everybody who reaches the address.

    Parameters
    ----------
    certificate, private_key
        PEM files; TLS 1.2 or newer when both are given.
    username, password
        HTTP Basic credentials.
    bearer
        Or a bearer token.
    """

    certificate: Path | None = None
    private_key: Path | None = None
    username: str | None = None
    password: str | None = None
    bearer: str | None = None

    @property
    def expected(self) -> str | None:
        """The ``Authorization`` header that lets a request in; ``None`` when none is asked for."""
        if self.bearer is not None:
            return f"Bearer {self.bearer}"
        if self.username is not None:
            pair = f"{self.username}:{self.password or ''}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return None


class Guarded:
    """A collector that cannot spoil the scrape: when it raises, the others' figures are still shown.

    Shows the seconds of each collection and whether it failed, so that a blind spot is itself visible.
    """

    def __init__(self, collectors: dict[str, Collector]) -> None:
        self._collectors = collectors

    def collect(self) -> Iterator[Metric]:
        seconds = GaugeMetricFamily(
            "fedpacs_scrape_collector_seconds", "Time that a part of this scrape took", labels=["collector"]
        )
        failed = GaugeMetricFamily(
            "fedpacs_scrape_collector_failed",
            "1: this part of the scrape failed and its metrics are missing; see the node's log",
            labels=["collector"],
        )
        for name, collector in self._collectors.items():
            start = time.perf_counter()
            try:
                metrics = list(collector.collect())
            except Exception:  # whatever breaks one part must not hide the rest
                log.exception("a part of the metrics failed", extra=fields(step=name))
                metrics = []
                failed.add_metric([name], 1)
            else:
                failed.add_metric([name], 0)
            seconds.add_metric([name], time.perf_counter() - start)
            yield from metrics
        yield seconds
        yield failed


class Endpoint(HttpServer):
    """Serves ``/metrics`` from a thread of this process.

    Parameters
    ----------
    host, port
        Address; port 0 takes a free one (see ``port``).
    collectors
        Parts of the answer by name.
    access
        TLS and credentials.
    """

    def __init__(self, host: str, port: int, collectors: dict[str, Collector], access: Access | None = None) -> None:
        self._access = access or Access()
        super().__init__("metrics", host, port, self._application, self._access.certificate, self._access.private_key)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Guarded(collectors))

    @property
    def url(self) -> str:
        return f"{self.address}/metrics"

    def _application(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        expected = self._access.expected
        if expected is not None:
            given = environ.get("HTTP_AUTHORIZATION", "")
            if not hmac.compare_digest(given.encode(), expected.encode()):
                scheme = expected.split(" ", 1)[0]
                start_response("401 Unauthorized", [("WWW-Authenticate", f'{scheme} realm="fedpacs"')])
                return [b"credentials are needed: see metrics in the node's configuration\n"]
        if environ.get("PATH_INFO") != "/metrics":
            start_response("404 Not Found", [("Content-Type", "text/plain")])
            return [b"metrics are at /metrics\n"]
        if environ.get("REQUEST_METHOD") != "GET":
            start_response("405 Method Not Allowed", [("Allow", "GET")])
            return [b""]
        encode, content_type = choose_encoder(environ.get("HTTP_ACCEPT", ""))
        body = encode(self._registry)
        headers = [("Content-Type", content_type)]
        if "gzip" in environ.get("HTTP_ACCEPT_ENCODING", ""):
            body = gzip.compress(body, compresslevel=1)
            headers.append(("Content-Encoding", "gzip"))
        start_response("200 OK", [*headers, ("Content-Length", str(len(body)))])
        return [body]
