"""`make demo-stop`: ends every federation that a demo of this checkout left running."""

from __future__ import annotations

from pathlib import Path

from demo import processes
from demo.federation import DESCRIPTION, Federation
from demo.workspace import Workspace


def stop_all(root: Path) -> int:
    """Stop what runs below ``root`` (``.demo``), and return how many federations that were."""
    stopped = 0
    for folder in sorted((root.resolve() / "runs").glob("*")):
        if not processes.is_running(folder.name):
            continue
        if (folder / DESCRIPTION).is_file():
            Federation.recall(Workspace(root.resolve(), folder.name)).stop()
        else:
            processes.stop(folder.name, patience=5.0)
        stopped += 1
        print(f"stopped {folder.name}")
    if not stopped:
        print("no federation of this checkout is running")
    return stopped
