"""A node's intake in a kit of its own, and how to look at it from outside."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil
import yaml

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.keys import SiteKeys
from client_plugin.config import NodeConfig
from client_plugin.intake.service import Intake
from client_plugin.intake.spool import Spool

DCMTK = {**os.environ, "TCP_NODELAY": "1"}  # dcmtk leaves Nagle's algorithm on, which costs 40 ms per instance


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], bool], seconds: float = 30) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def ended(processes: list[psutil.Process]) -> bool:
    """Whether all have ended; a zombie has, whoever is to reap it."""

    def over(process: psutil.Process) -> bool:
        try:
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    return until(lambda: all(over(process) for process in processes), 15)


class Node:
    """Its configuration and what can be seen of it."""

    def __init__(self, kit: Path, **sections: dict[str, Any]) -> None:
        dicom = {
            "host": "127.0.0.1",
            "port": free_port(),
            "peers": [{"ae_title": "PACS", "addresses": ["127.0.0.1"]}],
            "drain_timeout": 3.0,
            **sections.get("dicom", {}),
        }
        intake = {"quiet_seconds": 1.0, "min_free_bytes": 0, **sections.get("intake", {})}
        (kit / "local").mkdir(parents=True)
        (kit / "local" / "fedpacs.yaml").write_text(
            yaml.safe_dump({"site": "hospital-a", "dicom": dicom, "intake": intake, **sections.get("more", {})})
        )
        self.config = NodeConfig.load(kit)
        self.intake = Intake(self.config)

    @property
    def port(self) -> int:
        return self.config.dicom.port

    @cached_property
    def catalogue(self) -> Catalogue:
        return Catalogue.open(self.config.catalogue_url)

    @property
    def spool(self) -> Spool:
        return Spool(self.config.spool, SiteKeys.open(self.config).derive("spool"))

    def reasons(self) -> list[str]:
        return sorted(row.reason for row in self.catalogue.quarantined())

    def drained(self) -> bool:
        """Whether every received instance was archived or set aside."""
        return self.catalogue.backlog()[0] == 0

    def plain_bytes(self) -> Iterator[tuple[Path, bytes]]:
        """Every file below the kit, and its content; names count as content."""
        for path in self.config.kit.rglob("*"):
            yield path, str(path.relative_to(self.config.kit)).encode() + (path.read_bytes() if path.is_file() else b"")


@contextmanager
def running(kit: Path, **sections: dict[str, Any]) -> Iterator[Node]:
    node = Node(kit, **sections)
    node.intake.start()
    try:
        yield node
    finally:
        node.intake.stop(10)


def main() -> None:
    """Run the intake of a kit until this process is killed: ``python -m tests.integration.dicom.node KIT``."""
    intake = Intake(NodeConfig.load(Path(sys.argv[1])))
    intake.start()
    print("up", flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
