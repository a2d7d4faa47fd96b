"""Where a run keeps its things: all of it below ``.demo``, each run in a folder of its own."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

NEEDED_BYTES = 3 << 30
KEPT_RUNS = 2


class DemoError(RuntimeError):
    """The demo cannot go on; one line that names the cause and the cure."""


@dataclass(frozen=True)
class Workspace:
    """One run's folders."""

    root: Path
    run_id: str

    @classmethod
    def create(cls, root: Path, *, running: Callable[[str], bool]) -> Workspace:
        """Make a new run's folder and delete old ones that nobody uses.

        Parameters
        ----------
        root
            ``.demo`` of the checkout.
        running
            Tells whether a run's processes are still there: such a run is never deleted.

        Raises
        ------
        DemoError
            Too little room on the disk, or the folder cannot be written.
        """
        root = root.resolve()
        try:
            runs = root / "runs"
            runs.mkdir(parents=True, exist_ok=True)
            old = sorted(path for path in runs.iterdir() if path.is_dir())
            for path in old[: max(0, len(old) - KEPT_RUNS)]:
                if not running(path.name):
                    shutil.rmtree(path, ignore_errors=True)
            free = shutil.disk_usage(root).free
            if free < NEEDED_BYTES:
                raise DemoError(f"{free / 1e9:.1f} GB free at {root}, {NEEDED_BYTES / 1e9:.1f} needed: free some room")
            result = cls(root, cls._new_id(runs))
            for folder in (result.temporary, result.logs, result.cache):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DemoError(f"cannot write below {root} ({error.strerror}): check its owner and its disk") from None
        return result

    @staticmethod
    def _new_id(runs: Path) -> str:
        """A name no other run has, even one started in the same second."""
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
        for number in range(100):
            name = stamp if number == 0 else f"{stamp}-{number}"
            try:
                (runs / name).mkdir()
            except FileExistsError:
                continue
            return name
        raise DemoError("a hundred runs started in this second: wait for the next one")

    @property
    def run(self) -> Path:
        return self.root / "runs" / self.run_id

    @property
    def cache(self) -> Path:
        """Downloaded data packages: kept between runs."""
        return self.root / "cache"

    @property
    def temporary(self) -> Path:
        """TMPDIR of every process of the run."""
        return self.run / "tmp"

    @property
    def logs(self) -> Path:
        return self.run / "logs"
