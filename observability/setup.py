"""Where the processes of one node leave their figures for the one process that is scraped.

``prometheus_client`` reads ``PROMETHEUS_MULTIPROC_DIR`` when it is imported: set, every process keeps its
values in memory-mapped files below it, and any of them can add all files up. So the long-running parent calls
:func:`share` before anything counts; listener, worker and job processes inherit the environment and call nothing.
This module imports the standard library only.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def share(storage: Path) -> Path:
    """Make a folder for this boot below ``storage/metrics`` and have this process and its children use it.

    Folders that earlier boots left are removed: counters start at zero when the node does, which is what
    Prometheus' ``rate`` expects of a restart.

    Parameters
    ----------
    storage
        The node's (or server's) own folder; two nodes never share one.

    Returns
    -------
    Path
        The folder, mode 0700.

    Raises
    ------
    RuntimeError
        ``prometheus_client`` has been imported already and would keep its figures to this process.
    """
    if "prometheus_client" in sys.modules and VARIABLE not in os.environ:
        raise RuntimeError(
            "prometheus_client was imported before observability.setup.share(): "
            "call share() first thing in the process, before anything is counted"
        )
    parent = storage / "metrics"
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    boot = parent / f"{time.time_ns():x}-{os.getpid()}"
    boot.mkdir(mode=0o700)
    for old in parent.iterdir():
        if old != boot and old.is_dir() and not _running(old.name):
            shutil.rmtree(old, ignore_errors=True)
    os.environ[VARIABLE] = str(boot)
    return boot


def folder() -> Path | None:
    """The folder that this process shares its figures in; ``None`` when it keeps them to itself."""
    value = os.environ.get(VARIABLE)
    return Path(value) if value else None


def _running(boot: str) -> bool:
    """Whether the parent that made the folder still lives (a second node by mistake on the same storage)."""
    _, _, pid = boot.rpartition("-")
    return pid.isdigit() and int(pid) != os.getpid() and Path(f"/proc/{pid}").exists()
