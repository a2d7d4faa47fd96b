"""On what a figure was measured: machine, versions, commit."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil

from demo.result import Environment

DISTRIBUTIONS = ("fedpacs", "nvflare", "monai", "torch", "pynetdicom", "pydicom", "highdicom", "tenseal", "numpy")


def describe(repository: Path) -> Environment:
    """This machine, now, with the commit checked out in ``repository`` (None outside a clone)."""
    return Environment(
        date=datetime.now(UTC),
        machine=f"{platform.system()} {platform.release()} {platform.machine()}",
        cpus=len(psutil.Process().cpu_affinity()),  # those we may use, not those that exist
        memory_bytes=psutil.virtual_memory().total,
        python=platform.python_version(),
        versions={name: version(name) for name in DISTRIBUTIONS},
        commit=_commit(repository),
    )


def _commit(repository: Path) -> str | None:
    asked = subprocess.run(
        ["git", "-C", repository, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or None
