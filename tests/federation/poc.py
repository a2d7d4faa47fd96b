"""NVFlare's POC mode, as a user types it: ``nvflare poc prepare | start | stop``."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml
from nvflare.fuel.flare_api.flare_api import Session

from tests.federation.consortium import ROOT, free_port, log_in

PROJECT = ROOT / "provisioning" / "poc.yml"
ADMIN = "lead@example.org"


@dataclass
class Poc:
    """The consortium of ``provisioning/poc.yml`` below ``folder``, on free ports. Its nodes are not started, as the
    tests archive studies themselves; ``governance`` is added to what every hospital's policy says.
    """

    folder: Path
    governance: dict[str, Any]

    def prepare(self) -> None:
        project: dict[str, Any] = yaml.safe_load(PROJECT.read_text())
        for participant in project["participants"]:
            if participant["type"] == "server":
                participant |= {"fed_learn_port": free_port(), "admin_port": free_port()}
                participant["metrics"]["port"] = free_port()
            elif participant["type"] == "client":
                participant["embedded"] = False
                participant["node"]["governance"] |= self.governance
        path = self.folder / "poc.yml"
        path.write_text(yaml.safe_dump(project))
        (self.folder / "home").mkdir()
        self.nvflare("poc", "prepare", "-i", str(path))

    def kit(self, participant: str) -> Path:
        return self.folder / "poc" / "fedpacs_poc" / "prod_00" / participant

    def nvflare(self, *arguments: str) -> None:
        """Run NVFlare's command."""
        bin_folder = Path(sys.executable).parent
        environment = {
            **os.environ,
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.folder / "home"),  # it keeps its settings there
            "NVFLARE_POC_WORKSPACE": str(self.folder / "poc"),
        }
        command = [str(bin_folder / "nvflare"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert done.returncode == 0, f"nvflare {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"

    @contextmanager
    def running(self, hospitals: int) -> Iterator[Session]:
        """``nvflare poc start``, the lead's session once all hospitals have registered, ``nvflare poc stop``.

        NVFlare 2.9 does not keep the limit of its own wait: closing a session whose login took longer than a second
        can block for ever (https://github.com/NVIDIA/NVFlare/pull/5280).
        """
        try:
            self.nvflare("poc", "start", "--no-wait")
            session = log_in(ADMIN, self.kit(ADMIN), hospitals)
            yield session
            session.close()
        finally:
            self.stop()

    def stop(self) -> None:
        """``nvflare poc stop``, and after a minute by signal what is left: NVFlare itself waits 30 s, too short for a
        busy machine."""
        with suppress(subprocess.TimeoutExpired):  # as in `running`
            self.nvflare("poc", "stop", "--no-wait")
        deadline = time.monotonic() + 60
        while (left := self._processes()) and time.monotonic() < deadline:
            time.sleep(0.5)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _processes(self) -> list[psutil.Process]:
        kits = str(self.folder / "poc")
        return [one for one in psutil.process_iter(["cmdline"]) if any(kits in x for x in one.info["cmdline"] or [])]

    def log(self, participant: str) -> str:
        return (self.kit(participant) / "poc_console.log").read_text(errors="replace")
