from __future__ import annotations

import stat
from pathlib import Path

import pytest

from client_plugin.metrics.gpu import Gpu, Gpus, parse

ANSWER = "0, 87, 10240, 24576, 71\n1, [N/A], 512, 24576, [Not Supported]\nNo devices were found\n"
"""As nvidia-smi prints it; the last line is what it says without a GPU."""


def test_lines_are_read_in_base_units_and_gaps_stay_gaps() -> None:
    gib = 1 << 30
    assert parse(ANSWER) == [
        Gpu(0, 0.87, 10 * gib, 24 * gib, 71.0),
        Gpu(1, None, gib / 2, 24 * gib, None),
    ]


def test_without_the_program_nothing_is_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert list(Gpus().collect()) == []


def test_what_the_program_prints_becomes_gauges(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\nprintf '%s' '{ANSWER}'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    shown = {(s.name, s.labels["gpu"]): s.value for metric in Gpus().collect() for s in metric.samples}
    assert shown["fedpacs_gpu_utilization_ratio", "0"] == 0.87
    assert ("fedpacs_gpu_utilization_ratio", "1") not in shown
    assert shown["fedpacs_gpu_memory_bytes", "1"] == 24 * (1 << 30)
