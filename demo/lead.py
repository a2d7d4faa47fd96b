"""The consortium's lead, by NVFlare's admin API: submits a job, asks how it is, takes its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from nvflare.apis.job_def import JobMetaKey, RunStatus
from nvflare.fuel.flare_api.api_spec import JobNotFound, JobNotRunning, NoConnection, TargetType
from nvflare.fuel.flare_api.flare_api import Session

from demo.workspace import DemoError

TRIES = 10
PAUSE_SECONDS = 2.0
_NOT_ENDED = (RunStatus.SUBMITTED, RunStatus.APPROVED, RunStatus.DISPATCHED, RunStatus.RUNNING)

T = TypeVar("T")


class Lead:
    """Logged in from entering to leaving the context. A lost connection is made again: a busy server is no failure.

    Parameters
    ----------
    log_in
        Makes a session, or raises DemoError.
    """

    def __init__(self, log_in: Callable[[], Session]) -> None:
        self._log_in = log_in
        self._session: Session | None = None

    def __enter__(self) -> Self:
        self._session = self._log_in()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log_out()

    def submit(self, folder: Path) -> str:
        """Submit a job; the answer is its id."""
        return str(self._ask(lambda session: session.submit_job(str(folder))))

    def ended(self, job_id: str) -> str | None:
        """The job's final status; None while it waits or runs."""
        meta = self._ask(lambda session: session.get_job_meta(job_id))
        status = str(meta.get(JobMetaKey.STATUS.value))
        return None if status in {one.value for one in _NOT_ENDED} else status

    def stats(self, job_id: str) -> dict[str, Any]:
        """``show_stats server``; empty while the job waits for its turn, and when it has just ended."""
        with suppress(JobNotFound, JobNotRunning):
            return dict(self._ask(lambda session: session.show_stats(job_id, TargetType.SERVER)))
        return {}

    def download(self, job_id: str, folder: Path) -> Path:
        """Take the job's result from the server's job store."""
        return Path(self._ask(lambda session: session.download_job_result(job_id, str(folder))))

    def _ask(self, question: Callable[[Session], T]) -> T:
        for _ in range(TRIES):
            try:
                if self._session is None:
                    self._session = self._log_in()
                return question(self._session)
            except NoConnection:
                self._log_out()
                time.sleep(PAUSE_SECONDS)
        raise DemoError("the server does not answer the lead any more: see its log in the run's folder")

    def _log_out(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            with suppress(Exception):  # its threads must go, whatever the server says
                session.close()
