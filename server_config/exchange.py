"""One message to each site, one answer from each: NVFlare tasks with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from nvflare.apis.controller_spec import ClientTask, Task
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from secure_aggregation.errors import ProtocolError

PAYLOAD = "fedpacs"
HEADER_REASON = "fedpacs.reason"
_POLL = 0.05

Wire = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """What one site answered."""

    site: str
    result: Shareable
    seconds: float

    @property
    def payload(self) -> Wire:
        """The protocol message in it; empty when there is none."""
        payload = self.result.get(PAYLOAD)
        if isinstance(payload, np.ndarray) and payload.dtype == np.uint8 and payload.ndim == 1:
            return payload
        return np.empty(0, np.uint8)


def refusal(result: Shareable) -> str | None:
    """Why a site did not do as asked: its reason, NVFlare's code, or None when it did."""
    code = result.get_return_code()
    if code == ReturnCode.OK:
        return None
    reason = result.get_header(HEADER_REASON)
    return str(reason)[:64] if reason else str(code)[:64]


class JobFailedError(Exception):
    """The job cannot go on; the message says why, for the person who submitted it."""


class Exchange:
    """Sends tasks and waits for their results, in one run of a controller.

    Parameters
    ----------
    controller
        Whose tasks they are.
    fl_ctx, abort_signal
        Of its ``control_flow``.
    """

    def __init__(self, controller: Controller, fl_ctx: FLContext, abort_signal: Signal) -> None:
        self._controller = controller
        self._fl_ctx = fl_ctx
        self._abort_signal = abort_signal

    @property
    def job(self) -> str:
        """NVFlare's job id."""
        return str(self._fl_ctx.get_job_id())

    def log(self, text: str) -> None:
        """Tell the server's log."""
        self._controller.log_info(self._fl_ctx, text)

    def run(
        self,
        name: str,
        data: Mapping[str, Wire],
        timeout: int,
        accept: Callable[[Answer], None] = lambda _: None,
        enough: Callable[[], bool] = lambda: False,
    ) -> dict[str, str]:
        """Send ``data[site]`` to every site as task ``name``; call ``accept`` with each answer as it arrives.

        Waits until all have answered, the timeout (seconds), or ``enough`` says so.

        Returns
        -------
        dict
            Why the sites that are missing are missing: the protocol's reason if ``accept`` raised one, else the
            site's own refusal or how NVFlare's task ended.
        """
        refused: dict[str, str] = {}
        answered: set[str] = set()

        def received(client_task: ClientTask, fl_ctx: FLContext) -> None:
            site = client_task.client.name
            result, client_task.result = client_task.result, None
            answered.add(site)
            try:
                accept(Answer(site, result, time.time() - (client_task.task_sent_time or time.time())))
            except ProtocolError as error:
                refused[site] = error.reason.value
                self._controller.log_error(fl_ctx, f"{name}: {site}: {error}")
            else:
                reason = refusal(result)
                if reason:
                    refused[site] = reason
                    self._controller.log_error(fl_ctx, f"{name}: {site} answered {reason}")

        tasks = {}
        for site, wire in data.items():
            # One task a site, not one broadcast: NVFlare copies a broadcast's data, and one slow site must not hide
            # another's end.
            shareable = Shareable({PAYLOAD: wire}) if wire.size else Shareable()
            tasks[site] = Task(name, shareable, timeout=timeout, result_received_cb=received)
            self._controller.send(tasks[site], self._fl_ctx, targets=[site])
        while any(task.completion_status is None for task in tasks.values()):
            if self._abort_signal.triggered or enough():
                break
            time.sleep(_POLL)
        for site, task in tasks.items():
            if task.completion_status is None:
                self._controller.cancel_task(task, fl_ctx=self._fl_ctx)
            if site not in answered and not enough():
                status = task.completion_status
                refused[site] = str(status.value) if status is not None else "aborted"
                self._controller.log_error(self._fl_ctx, f"{name}: no answer of {site}: {refused[site]}")
        if self._abort_signal.triggered:
            raise JobFailedError("the job was aborted")
        return refused


def taking(take: Callable[[str, Wire], None]) -> Callable[[Answer], None]:
    """An ``accept`` that hands the payload of good answers to ``take``."""

    def accept(answer: Answer) -> None:
        if refusal(answer.result) is None:
            take(answer.site, answer.payload)

    return accept
