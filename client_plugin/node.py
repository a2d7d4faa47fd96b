"""EdgeNode: the hospital's node, its parts built from one NodeConfig and started and stopped together."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from client_plugin.config import NodeConfig
from observability import logs
from observability.setup import share

logger = logging.getLogger(__name__)

STATE_FILE = "node.json"


class Part(Protocol):
    """What the node starts and stops."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


class NodeError(RuntimeError):
    """The node cannot run; the message names the cause and the cure."""


@dataclass(frozen=True)
class NodeState:
    """What the node says about itself in ``<storage>/node.json``: read by ``fedpacs status`` and by IT's scripts."""

    state: str  # starting | running | failed | stopped
    pid: int
    since: float  # seconds since the epoch
    detail: str = ""

    @property
    def alive(self) -> bool:
        """Whether the process that wrote this still runs."""
        if self.state not in ("starting", "running"):
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def read_state(config: NodeConfig) -> NodeState | None:
    """The node's last word, or None if it never ran here."""
    try:
        return NodeState(**json.loads((config.root / STATE_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


class EdgeNode:
    """The parts of a hospital's node.

    Parameters
    ----------
    config
        The hospital's configuration.
    parts
        Makes the parts in the order they start; they stop in reverse. Default: metrics, then intake.
    """

    def __init__(self, config: NodeConfig, parts: Callable[[NodeConfig], list[Part]] | None = None) -> None:
        self.config = config
        self._make_parts = parts or default_parts
        self._started: list[Part] = []

    def start(self) -> None:
        """Start everything, or nothing.

        Raises
        ------
        NodeError
            Another node runs on this storage, or a part refused; the parts started before it are stopped again.
        """
        previous = read_state(self.config)
        if previous and previous.alive and previous.pid != os.getpid():
            raise NodeError(
                f"a node (process {previous.pid}) already uses {self.config.root}: stop it, or give this one its own"
                " storage"
            )
        self.config.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._say("starting")
        try:
            for part in self._make_parts(self.config):
                part.start()
                self._started.append(part)
        except Exception as error:
            self._stop_parts()
            self._say("failed", str(error))
            raise NodeError(f"the node did not start: {error}") from error
        self._say("running")
        logger.info("edge node running")

    def stop(self) -> None:
        """Stop what runs, last started first. Calling it again does nothing."""
        if self._started:
            self._stop_parts()
            self._say("stopped")
            logger.info("edge node stopped")

    def _stop_parts(self) -> None:
        while self._started:
            part = self._started.pop()
            try:
                part.stop()
            except Exception:  # one part that fails to stop must not keep the others running
                logger.exception("a part of the node did not stop cleanly")

    def _say(self, state: str, detail: str = "") -> None:
        path = Path(self.config.root) / STATE_FILE
        temporary = path.with_suffix(".new")
        with suppress(OSError):  # a full disk must not keep the node from stopping
            temporary.write_text(json.dumps(asdict(NodeState(state, os.getpid(), time.time(), detail))))
            temporary.replace(path)


def default_parts(config: NodeConfig) -> list[Part]:
    """Metrics first, so that whoever looks sees the rest come up."""
    # Figures are shared with the processes that the intake starts, and this must come before anything counts.
    share(config.root)
    logs.configure("node", config.site, config.root / "logs")

    from client_plugin.archive.archive import Archive
    from client_plugin.dicom.echo import PeerWatch
    from client_plugin.intake.service import Intake
    from client_plugin.metrics.exporter import MetricsServer
    from client_plugin.status_page.app import StatusPage

    catalogue = Archive.open(config).catalogue
    return [MetricsServer(config, catalogue), StatusPage(config, catalogue), PeerWatch(config), Intake(config)]
