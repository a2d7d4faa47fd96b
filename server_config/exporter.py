"""The server's ``/metrics``: an NVFlare component of the server's ``local/resources.json``."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, SystemComponents
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey, RunStatus

from observability import setup
from server_config import metrics

if TYPE_CHECKING:
    from observability.exposition import Endpoint
    from observability.sampling import Collector

log = logging.getLogger(__name__)

INTERVAL = 5.0
COLLECTORS = ("counted", "processes", "facts")
"""Names of the parts of a scrape, in their order."""


class ServerMetrics(FLComponent):
    """Serves the figures of the server's parent and job processes, and watches the sites' heartbeats.

    Parameters
    ----------
    host, port
        Where Prometheus finds it; loopback unless told otherwise.
    certificate, private_key
        PEM files, relative to the kit, for https.
    secret_file
        File in the kit, mode 0600, with a bearer token that Prometheus must show.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 9465,
        certificate: str | None = None,
        private_key: str | None = None,
        secret_file: str | None = None,
    ) -> None:
        super().__init__()
        self._host = host
        self._port = port
        self._certificate = certificate
        self._private_key = private_key
        self._secret_file = secret_file
        self._endpoint: Endpoint | None = None
        self._stop = threading.Event()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        # Job processes build this component too; only the parent gets the system's events.
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            kit = Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_root_dir())
            setup.share(kit)
        elif event_type == EventType.SYSTEM_START:
            kit = Path(fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT).get_root_dir())
            self._start(kit, fl_ctx.get_engine())
        elif event_type == EventType.SYSTEM_END:
            self._end()
        elif event_type == EventType.JOB_STARTED:
            metrics.job_changed(metrics.JobEnd.STARTED)
        elif event_type in (EventType.JOB_COMPLETED, EventType.JOB_ABORTED):
            end = job_end(event_type, _status(fl_ctx))
            if end is not None:
                metrics.job_changed(end)

    def _start(self, kit: Path, engine: Any) -> None:
        # Not at the top: NVFlare imports this module before SYSTEM_BOOTSTRAP, and these import prometheus_client.
        from observability.exposition import Access, Endpoint
        from observability.http import EndpointError
        from observability.processes import ProcessTree, SharedFigures
        from observability.sampling import Sampled
        from server_config.facts import ServerFacts

        shared = setup.folder()
        assert shared is not None  # noqa: S101 - SYSTEM_BOOTSTRAP came before
        processes = Sampled(ProcessTree(), INTERVAL)
        parts: tuple[Collector, ...] = (SharedFigures(shared), processes, ServerFacts(kit))
        collectors = dict(zip(COLLECTORS, parts, strict=True))
        metrics.start()
        secret = (kit / self._secret_file).read_text(encoding="utf-8").strip() if self._secret_file else None
        access = Access(
            certificate=kit / self._certificate if self._certificate else None,
            private_key=kit / self._private_key if self._private_key else None,
            bearer=secret,
        )
        endpoint = Endpoint(self._host, self._port, collectors, access)
        try:
            endpoint.start()
        except EndpointError as error:
            # The federation works without its metrics; their absence is what the alert ServerDown is for.
            self.log_error_and_go_on(str(error))
            return
        processes.start()
        self._endpoint = endpoint
        threading.Thread(target=self._watch, args=[engine], name="metrics-sites", daemon=True).start()

    def log_error_and_go_on(self, message: str) -> None:
        """Say it where the server's operator looks, in our log and in NVFlare's."""
        log.error("the metrics endpoint did not start")
        self.logger.error(message)

    def _end(self) -> None:
        self._stop.set()
        if self._endpoint is not None:
            self._endpoint.stop()

    def _watch(self, engine: Any) -> None:
        while not self._stop.is_set():
            metrics.sites_registered({client.name: client.last_connect_time for client in engine.get_clients()})
            self._stop.wait(INTERVAL)


def job_end(event_type: str, status: str) -> metrics.JobEnd | None:
    """How a job ended, by NVFlare's event and the job's status; None for an event that is not the last of the job.

    NVFlare says JOB_COMPLETED of every job whose process has ended, also after JOB_ABORTED; of a job that could not
    be started it says JOB_ABORTED only.
    """
    if event_type == EventType.JOB_ABORTED:
        return metrics.JobEnd.FAILED if status == RunStatus.FAILED_TO_RUN.value else None
    ends = {
        RunStatus.FINISHED_COMPLETED.value: metrics.JobEnd.COMPLETED,
        RunStatus.FINISHED_ABORTED.value: metrics.JobEnd.ABORTED,
    }
    return ends.get(status, metrics.JobEnd.FAILED)


def _status(fl_ctx: FLContext) -> str:
    """What the job store says of the job that an event is about."""
    job_id = fl_ctx.get_prop(FLContextKey.EVENT_DATA)[JobMetaKey.JOB_ID.value]
    job = fl_ctx.get_engine().get_component(SystemComponents.JOB_MANAGER).get_job(job_id, fl_ctx)
    return str(job.meta.get(JobMetaKey.STATUS.value)) if job else ""
