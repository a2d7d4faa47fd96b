"""What a result says of the machine it was measured on."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from demo.environment import describe


def test_it_names_the_machine_the_versions_and_the_commit(tmp_path: Path) -> None:
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "x"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", "-C", tmp_path, *identity, *command], check=True)
    environment = describe(tmp_path)
    head = subprocess.run(["git", "-C", tmp_path, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert environment.commit
    assert head.stdout.startswith(environment.commit)
    assert environment.versions["nvflare"] == version("nvflare")
    assert environment.cpus >= 1
    assert abs((datetime.now(UTC) - environment.date).total_seconds()) < 60


def test_outside_a_clone_there_is_no_commit(tmp_path: Path) -> None:
    assert describe(tmp_path).commit is None
