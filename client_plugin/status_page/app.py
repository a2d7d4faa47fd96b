"""The page over HTTP: one address, GET only, no script, no cookie, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.resources import files

from flask import Flask, Response, abort, render_template, request

from client_plugin.archive.catalogue import Catalogue
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.metrics.exporter import counted
from client_plugin.status_page.curve import HEIGHT, MARGIN, WIDTH, curve
from client_plugin.status_page.gather import gather, gauges
from client_plugin.status_page.model import Status
from observability.http import EndpointError, HttpServer
from observability.processes import ProcessTree

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
REFRESH_SECONDS = 30


def application(look: Callable[[], Status], names: tuple[str, ...] = ()) -> Flask:
    """The WSGI application.

    Parameters
    ----------
    look
        Takes one look at the node.
    names
        Host names, besides the loopback ones, that a browser may ask for. Others are refused: a web page of
        somebody else's, whose name was pointed at this address, must not read it (DNS rebinding).
    """
    app = Flask("client_plugin.status_page")
    allowed = {*LOOPBACK, *names}

    @app.before_request
    def _only_by_our_names() -> None:
        host = request.host.rpartition(":")[0] if request.host.rpartition(":")[2].isdigit() else request.host
        if host not in allowed:
            abort(421, "This page is not served under that name: see status_page.names.")

    @app.after_request
    def _headers(response: Response) -> Response:
        response.headers.update(HEADERS)
        if request.args.get("refresh") == "on":
            response.headers["Refresh"] = str(REFRESH_SECONDS)
        return response

    @app.get("/")
    def _page() -> str:
        status = look()
        rounds = status.job.rounds if status.job else ()
        return render_template(
            "page.html",
            status=status,
            loss=curve([each.loss for each in rounds]),
            quality=curve([each.quality for each in rounds]),
            size={"width": WIDTH, "height": HEIGHT, "margin": MARGIN},
            refreshing=request.args.get("refresh") == "on",
            seconds=REFRESH_SECONDS,
        )

    @app.get("/style.css")
    def _style() -> Response:
        css = files("client_plugin.status_page").joinpath("static/style.css").read_text(encoding="utf-8")
        return Response(css, mimetype="text/css")

    return app


class StatusPage:
    """Serves the page; a part of the node's parent process.

    Parameters
    ----------
    config
        The node's; ``config.status_page`` says where.
    catalogue
        Of the node's archive.
    """

    def __init__(self, config: NodeConfig, catalogue: Catalogue) -> None:
        collectors = (counted(config.root), ProcessTree())

        def look() -> Status:
            values: dict[str, float] = {}
            for collector in collectors:
                values |= gauges(collector.collect())
            return gather(config, catalogue, lambda: values, datetime.now().astimezone())

        page = config.status_page
        app = application(look, (page.host, *page.names))
        self._server = HttpServer("status_page", page.host, page.port, app)

    @property
    def url(self) -> str:
        """Where a person finds it."""
        return f"{self._server.address}/"

    def start(self) -> None:
        """Listen.

        Raises
        ------
        ConfigError
            The port is in use or the address is not this machine's.
        """
        try:
            self._server.start()
        except EndpointError as error:
            raise ConfigError(str(error)) from None

    def stop(self) -> None:
        self._server.stop()
