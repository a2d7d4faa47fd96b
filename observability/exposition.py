"""The HTTP endpoint that Prometheus scrapes: text or OpenMetrics, optional TLS and credentials."""

from __future__ import annotations

import base64
import errno
import gzip
import hmac
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Protocol
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric

from observability.logs import fields

log = logging.getLogger(__name__)

CONNECTION_TIMEOUT = 10.0
"""Seconds that a scraper may take for its handshake and its request line."""


class EndpointError(RuntimeError):
    """The endpoint cannot be opened; the message names the cause and the cure."""


class Collector(Protocol):
    def collect(self) -> Iterable[Metric]: ...


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


class Endpoint:
    """Serves ``/metrics`` from a thread of this process.

    Parameters
    ----------
    host, port
        Address; port 0 takes a free one (see :attr:`port`).
    collectors
        Parts of the answer by name.
    access
        TLS and credentials.
    """

    def __init__(self, host: str, port: int, collectors: dict[str, Collector], access: Access | None = None) -> None:
        self.host = host
        self._wanted_port = port
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(Guarded(collectors))
        self._access = access or Access()
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise EndpointError("the metrics endpoint is not running: call start()")
        return int(self._server.server_port)

    @property
    def url(self) -> str:
        scheme = "https" if self._access.certificate else "http"
        return f"{scheme}://{self.host}:{self.port}/metrics"

    def start(self) -> None:
        """Listen.

        Raises
        ------
        EndpointError
            The address is in use, not ours, or the TLS files cannot be read.
        """
        try:
            server = make_server(self.host, self._wanted_port, self._application, _Server, _QuietHandler)
        except OSError as error:
            raise EndpointError(_explain(error, self.host, self._wanted_port)) from None
        if self._access.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            try:
                context.load_cert_chain(self._access.certificate, self._access.private_key)
            except OSError as error:
                server.server_close()
                raise EndpointError(
                    f"metrics.tls: cannot read {self._access.certificate} and its key ({error.strerror or error}): "
                    "give a PEM certificate and the private key that belongs to it"
                ) from None
            assert isinstance(server, _Server)  # noqa: S101 - make_server returns the class it is given
            server.tls = context
        self._server = server
        self._thread = threading.Thread(target=server.serve_forever, args=[0.1], name="metrics-endpoint", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=5)
        self._server = self._thread = None

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


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    tls: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        connection, address = self.socket.accept()
        connection.settimeout(CONNECTION_TIMEOUT)
        if self.tls is not None:
            # The handshake happens at the first read, in the connection's own thread: nobody can block the others.
            connection = self.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return connection, address

    def server_bind(self) -> None:
        # Without WSGIServer's look-up of the host's name, which can take seconds in a hospital's network.
        TCPServer.server_bind(self)
        self.server_name = str(self.server_address[0])
        self.server_port = int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a scraper's connection broke")


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes are not events."""


def _explain(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"metrics: port {port} on {host} is in use: stop the other program, "
            f"or set metrics.port to a free one (ss -ltnp shows who has it)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"metrics: {host} is no address of this machine: set metrics.host to 127.0.0.1 or to one of its own"
    if error.errno == errno.EACCES:
        return f"metrics: not allowed to bind port {port}: set metrics.port to one above 1023"
    return f"metrics: cannot listen on {host}:{port} ({error.strerror}): check metrics.host and metrics.port"
