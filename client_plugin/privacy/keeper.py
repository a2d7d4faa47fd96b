"""Starts a job's process again when it was killed (out of memory, power, an operator), and tidies up after it."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, SystemComponents
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.workspace import Workspace

from client_plugin.config import NodeConfig
from client_plugin.flare import node_config
from client_plugin.privacy.kept import erase, folder_of, has_keys, sweep

_ABORT_REQUESTED = "_abort_requested"
"""NVFlare's mark in the record of a job's process that somebody asked for its end."""

log = logging.getLogger(__name__)


class JobKeeper(FLComponent):
    """A component of the hospital's ``resources.json``; it works in NVFlare's client, not in job processes.

    A session that ends in good order destroys its keys. Keys that are left when a job's process has ended therefore
    mean that it was killed. It is started again with what it kept, unless NVFlare had asked for its end.

    Parameters
    ----------
    restarts
        How often a job is started again at most.
    wait
        Seconds between a process's end and its next start.
    """

    def __init__(self, restarts: int = 3, wait: float = 2.0) -> None:
        super().__init__()
        self._restarts = restarts
        self._wait = wait
        self._config: NodeConfig | None = None
        self._records: dict[str, Mapping[str, Any]] = {}
        self._started: Counter[str] = Counter()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Look at the start and the end of job processes."""
        if event_type == EventType.SYSTEM_BOOTSTRAP:
            self._config = node_config(fl_ctx)
        elif self._config is None:
            return  # a job process
        elif event_type == EventType.SYSTEM_START:
            for name in sweep(self._config):
                log.info("%s is of no use to any job any more and was destroyed", name)
        elif event_type == EventType.AFTER_JOB_LAUNCH:
            job = str((fl_ctx.get_prop(FLContextKey.JOB_META) or {}).get(JobMetaKey.JOB_ID.value, ""))
            # The record itself: NVFlare marks it when it asks for the end, and drops it before it tells us of it.
            self._records[job] = fl_ctx.get_engine().client_executor.run_processes.get(job, {})
        elif event_type == EventType.JOB_COMPLETED:
            self._ended(self._config, str(fl_ctx.get_prop(FLContextKey.CURRENT_JOB_ID)), fl_ctx)

    def _ended(self, config: NodeConfig, job: str, fl_ctx: FLContext) -> None:
        record = self._records.pop(job, {})
        if not has_keys(config, job):
            return
        if record.get(_ABORT_REQUESTED) or self._started[job] >= self._restarts:
            erase(folder_of(config) / f"{job}.keys")
            return
        self._started[job] += 1
        log.warning("the process of job %s was killed: start %d of %d", job, self._started[job], self._restarts)
        threading.Thread(target=self._start, args=(job, fl_ctx), daemon=True).start()

    def _start(self, job: str, fl_ctx: FLContext) -> None:
        time.sleep(self._wait)
        engine = fl_ctx.get_engine()
        workspace: Workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        try:
            meta = json.loads(Path(workspace.get_job_meta_path(job)).read_text(encoding="utf-8"))
            wanted = (meta.get(JobMetaKey.RESOURCE_SPEC.value) or {}).get(engine.get_client_name(), {})
            manager = engine.get_component(SystemComponents.RESOURCE_MANAGER)
            enough, token = manager.check_resources(wanted, fl_ctx)
            resources = manager.allocate_resources(wanted, token, fl_ctx) if enough else {}
            consumer = engine.get_component(SystemComponents.RESOURCE_CONSUMER)
            if resources and consumer:
                consumer.consume(resources)
            said = engine.start_app(job, meta, resources, token, manager) if enough else "its resources are taken"
        except Exception as error:  # noqa: BLE001 - a thread's end; the site stays out of the job, as without us
            log.error("job %s does not start again: %s", job, error)  # noqa: TRY400 - no traceback with paths
        else:
            log.info("job %s: %s", job, said)
