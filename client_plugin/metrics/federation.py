"""Whether the node is in its federation: what NVFlare's client knows about its connection, as metrics.

A container that runs is not a site that trains. NVFlare fires ``AFTER_CLIENT_HEARTBEAT`` also when the heartbeat ran
into its timeout, so the event alone proves nothing: the connection to the server's cell is looked at as well.
"""

from __future__ import annotations

import threading
from typing import Any, Protocol

from nvflare.apis.event_type import EventType
from nvflare.fuel.f3.cellnet.fqcn import FQCN

from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import JobState

INTERVAL = 5.0


class ClientEngine(Protocol):
    """The part of NVFlare's ``ClientEngine`` that is used."""

    def get_cell(self) -> Any: ...

    def get_all_job_ids(self) -> list[str]: ...


def connected(engine: ClientEngine) -> bool:
    """Whether the client's cell has a connection to the server's now."""
    cell = engine.get_cell()
    return cell is not None and bool(cell.core_cell.is_cell_connected(FQCN.ROOT_SERVER))


class FederationWatch:
    """Keeps the federation gauges true; lives in the node's parent process.

    Parameters
    ----------
    engine
        ``fl_ctx.get_engine()`` of the client's parent process.
    interval
        Seconds between two looks at the connection.
    """

    def __init__(self, engine: ClientEngine, interval: float = INTERVAL) -> None:
        self._engine = engine
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="metrics-federation", daemon=True)

    def start(self) -> None:
        self.look()
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._interval)
        metrics.FEDERATION_CONNECTED.set(0)

    def on_event(self, event_type: str) -> None:
        """Give it every NVFlare event that the node's component gets."""
        if event_type == EventType.AFTER_CLIENT_HEARTBEAT:
            if connected(self._engine):
                metrics.LAST_HEARTBEAT.set_to_current_time()
        elif event_type == EventType.AFTER_JOB_LAUNCH:
            metrics.JOBS.inc(JobState.STARTED)
        elif event_type == EventType.JOB_COMPLETED:
            metrics.JOBS.inc(JobState.ENDED)

    def look(self) -> None:
        """Read the connection and the running jobs once."""
        metrics.FEDERATION_CONNECTED.set(1.0 if connected(self._engine) else 0.0)
        metrics.JOBS_RUNNING.set(len(self._engine.get_all_job_ids()))

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self.look()
