"""Run the node as a service of its own, without NVFlare's client (systemd, containers). Ctrl-C or SIGTERM stops it."""

from __future__ import annotations

import argparse
import signal
import threading

from client_plugin.commands import add_kit, load
from client_plugin.node import EdgeNode


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--kit``."""
    add_kit(parser)


def run(args: argparse.Namespace) -> int:
    """Start the node and wait for a signal."""
    config = load(args)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    node = EdgeNode(config)
    node.start()
    print(
        f"{config.site}: DICOM {config.dicom.ae_title} on {config.dicom.host}:{config.dicom.port}, "
        f"metrics on http://{config.metrics.host}:{config.metrics.port}/metrics",
        flush=True,
    )
    try:
        ended.wait()
    finally:
        node.stop()
    return 0
