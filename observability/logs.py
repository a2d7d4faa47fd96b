"""Structured logs: one JSON object a line, fields from a closed list, nothing of a third party's free text.

    log = logging.getLogger(__name__)
    with logs.bound(association="a7f3"):
        log.info("association accepted", extra=logs.fields(peer="pacs"))

writes ``{"time": "2026-01-31T12:00:00.123Z", "level": "info", "event": "association accepted", …}``. The message is
a fixed sentence of ours; what varies goes into fields. An exception is written as its class and the places in our
code, never with its message, which may quote a data set.
"""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OURS = ("client_plugin", "observability", "secure_aggregation", "server_config")
"""Packages whose events are written."""

THEIRS = ("pydicom", "pynetdicom", "highdicom", "monai", "py.warnings", "sqlalchemy", "alembic")
"""Libraries whose messages may quote a data set or a parameter: they go nowhere."""

FIELDS = frozenset(
    {
        "job", "round", "association", "site", "peer", "task", "worker",
        "reason", "outcome", "state", "step", "count", "bytes", "seconds", "port", "pid", "version", "level_db",
    }
)  # fmt: skip
"""Names that an event may carry. Values are numbers, members of enumerations, configured names or job ids."""

_process: dict[str, Any] = {}
_context: ContextVar[dict[str, Any] | None] = ContextVar("log_context", default=None)


def fields(**values: Any) -> dict[str, Any]:
    """For ``extra=``.

    Raises
    ------
    ValueError
        A name is not in :data:`FIELDS`.
    """
    unknown = values.keys() - FIELDS
    if unknown:
        raise ValueError(f"no log field {', '.join(sorted(unknown))}: take one of observability.logs.FIELDS")
    return {"fedpacs": values}


@contextmanager
def bound(**values: Any) -> Iterator[None]:
    """Every event of this thread (or asyncio task) inside the block carries these fields too."""
    token = _context.set({**(_context.get() or {}), **fields(**values)["fedpacs"]})
    try:
        yield
    finally:
        _context.reset(token)


def always(**values: Any) -> None:
    """Every further event of this process carries these fields: a job process has one job, and one round at a time."""
    _process.update(fields(**values)["fedpacs"])


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON.

    Parameters
    ----------
    role
        Part that the process plays: node, listener, worker, job, server.
    site
        Name of the site in the project.
    """

    def __init__(self, role: str, site: str) -> None:
        super().__init__()
        self._always = {"role": role, "site": site, "pid": os.getpid()}

    def format(self, record: logging.LogRecord) -> str:
        event: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            **self._always,
            **_process,
            **(_context.get() or {}),
            **getattr(record, "fedpacs", {}),
        }
        if record.exc_info and record.exc_info[0] is not None:
            event["exception"] = record.exc_info[0].__name__
            event["at"] = [
                f"{Path(frame.filename).name}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(record.exc_info[2])
            ]
        return json.dumps(event, ensure_ascii=False, default=str)


def configure(role: str, site: str, folder: Path | None = None, level: int = logging.INFO) -> None:
    """Send our packages' events to ``folder/<role>.jsonl`` (or the standard error), and third parties' nowhere.

    Call it once at the start of each process; a second call replaces the first. Several processes of one
    role append to one file: a line is written in one piece. The file may be moved away by logrotate at any time.
    """
    if folder is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handler = logging.handlers.WatchedFileHandler(folder / f"{role}.jsonl", encoding="utf-8")
    handler.setFormatter(JsonFormatter(role, site))
    for name in OURS:
        logger = logging.getLogger(name)
        for old in list(logger.handlers):
            logger.removeHandler(old)
            old.close()
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
    for name in THEIRS:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
    # Their warnings would be printed with the offending value; as log records they end in the line above.
    logging.captureWarnings(True)
    warnings.simplefilter("ignore", category=UserWarning)
