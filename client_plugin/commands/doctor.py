"""Check this hospital's installation. Each line is a check; each problem comes with its cure."""

from __future__ import annotations

import argparse

from rich.console import Console

from client_plugin.commands import add_kit, load
from client_plugin.doctor import Check, Outcome, examine

_STYLE = {Outcome.OK: "green", Outcome.WARNING: "yellow", Outcome.PROBLEM: "red"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit``."""
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Print the checks; the exit code is 1 when there is a problem."""
    console = Console(soft_wrap=True)
    checks = examine(load(args))
    for check in checks:
        console.print(_line(check))
    return 1 if any(check.outcome is Outcome.PROBLEM for check in checks) else 0


def _line(check: Check) -> str:
    line = f"[{_STYLE[check.outcome]}]{check.outcome.value:8}[/] {check.name}: {check.finding}"
    return f"{line}. Cure: {check.cure}" if check.cure else line
