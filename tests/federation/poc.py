"""NVFlare's POC mode, as a user types it: ``nvflare poc prepare | start | stop`` and ``nvflare job submit | wait``."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.folder import JobFolder
from tests.federation.consortium import ROOT, free_port

PROJECT = ROOT / "provisioning" / "poc.yml"


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

    def nvflare(self, *arguments: str, timeout: float = 180.0) -> str:
        """Run NVFlare's command; the answer is what it printed."""
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
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, f"nvflare {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def submit(self, job: JobFolder, name: str) -> str:
        """Submit a job; the answer is its id."""
        said = self.nvflare("job", "submit", "-j", str(job.write(self.folder / name)))
        found = re.search(r"job_id: (\S+)", said)
        assert found, said
        return found[1]

    def log(self, participant: str) -> str:
        return (self.kit(participant) / "poc_console.log").read_text(errors="replace")
