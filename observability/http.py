"""A small threaded HTTP server inside a long-running process, for ``/metrics`` and the status page."""

from __future__ import annotations

import errno
import logging
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

log = logging.getLogger(__name__)

CONNECTION_TIMEOUT = 10.0
"""Seconds that a client may take for its handshake and its request line."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class EndpointError(RuntimeError):
    """The address cannot be served; the message names the cause and the cure."""


class HttpServer:
    """Serves a WSGI application from a thread of this process.

    Parameters
    ----------
    section
        Part of the configuration that ``host`` and ``port`` come from: named in errors.
    host, port
        Address; port 0 takes a free one (see :attr:`port`).
    application
        Called in a thread for each connection.
    certificate, private_key
        PEM files; https (TLS 1.2 or newer) when given.
    """

    def __init__(
        self,
        section: str,
        host: str,
        port: int,
        application: Application,
        certificate: Path | None = None,
        private_key: Path | None = None,
    ) -> None:
        self._section = section
        self._host = host
        self._wanted_port = port
        self._application = application
        self._certificate = certificate
        self._private_key = private_key
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._server is None:
            raise EndpointError(f"{self._section} is not running: call start()")
        return int(self._server.server_port)

    @property
    def address(self) -> str:
        """``http://host:port``, without a path."""
        return f"{'https' if self._certificate else 'http'}://{self._host}:{self.port}"

    def start(self) -> None:
        """Listen.

        Raises
        ------
        EndpointError
            The address is in use, not ours, or the TLS files cannot be read.
        """
        try:
            server = make_server(self._host, self._wanted_port, self._application, _Server, _QuietHandler)
        except OSError as error:
            raise EndpointError(_explain(error, self._section, self._host, self._wanted_port)) from None
        if self._certificate:
            try:
                server.tls = _tls(self._certificate, self._private_key)
            except OSError as error:
                server.server_close()
                raise EndpointError(
                    f"{self._section}.tls: cannot read {self._certificate} and its key ({error.strerror or error}): "
                    "give a PEM certificate and the private key that belongs to it"
                ) from None
        self._server = server
        name = f"{self._section}-http"
        self._thread = threading.Thread(target=server.serve_forever, args=[0.1], name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(timeout=5)
        self._server = self._thread = None


def _tls(certificate: Path, private_key: Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, private_key)
    return context


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
        log.debug("a connection broke")


class _QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Scrapes are not events."""


def _explain(error: OSError, section: str, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{section}: port {port} on {host} is in use: stop the other program, "
            f"or set {section}.port to a free one (ss -ltnp shows who has it)"
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{section}: {host} is no address of this machine: set {section}.host to 127.0.0.1 or to one of its own"
    if error.errno == errno.EACCES:
        return f"{section}: not allowed to bind port {port}: set {section}.port to one above 1023"
    return f"{section}: cannot listen on {host}:{port} ({error.strerror}): check {section}.host and {section}.port"
