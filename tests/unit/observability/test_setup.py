from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from observability import setup


def run(code: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**{k: v for k, v in os.environ.items() if k != setup.VARIABLE}, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_share_makes_a_private_folder_and_tells_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(setup.VARIABLE, "/of/somebody/else")
    boot = setup.share(tmp_path)
    assert boot.parent == tmp_path / "metrics"
    assert boot.stat().st_mode & 0o777 == 0o700
    assert setup.folder() == boot
    child = subprocess.run(
        [sys.executable, "-c", f"import os; print(os.environ[{setup.VARIABLE!r}])"], capture_output=True, text=True
    )
    assert child.stdout.strip() == str(boot)


def test_folders_of_ended_boots_are_removed_and_of_running_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(setup.VARIABLE, "")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    stale = tmp_path / "metrics" / f"1-{ended.pid}"
    running = tmp_path / "metrics" / f"1-{os.getppid()}"
    for folder in (stale, running):
        folder.mkdir(parents=True)
    setup.share(tmp_path)
    assert not stale.exists()
    assert running.exists()


def test_too_late_is_an_error_that_names_the_cure(tmp_path: Path) -> None:
    result = run(
        f"import prometheus_client, pathlib, observability.setup as s; s.share(pathlib.Path({str(tmp_path)!r}))"
    )
    assert "call share() first thing" in result.stderr


@pytest.mark.parametrize(
    "module",
    [
        "observability.instruments",
        "client_plugin.metrics.instruments",
        "server_config.metrics",
        "nvflare.private.fed.app.client.client_train",
    ],
)
def test_importing_instruments_or_nvflare_does_not_import_prometheus_client(module: str) -> None:
    result = run(f"import sys, {module}; print('prometheus_client' in sys.modules)")
    assert result.stdout.strip() == "False", result.stderr
