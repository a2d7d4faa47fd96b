"""The intake of a node as one thing to start, watch and stop: its listener and worker processes."""

from __future__ import annotations

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from client_plugin.archive.archive import Archive
from client_plugin.config import DicomConfig, NodeConfig
from client_plugin.intake.process import Child, claimant, spawn
from observability import logs

log = logging.getLogger(__name__)

_LISTENER = "client_plugin.dicom.listener"  # named, not imported: the wire is built on the intake
_WORKER = "client_plugin.intake.worker"
_SENDER = "client_plugin.dicom.send.sender"
_PULLER = "client_plugin.dicom.pull.process"
_START_TIMEOUT = 60.0
_WATCH = 0.5  # seconds between looks at the children
_MAX_BACKOFF = 30.0  # seconds between two restarts of a process that keeps ending


class IntakeError(RuntimeError):
    """The intake cannot start; the message names the cause and the cure."""


@dataclass
class _Place:
    """One process that shall run, and how its restarts went."""

    start: Callable[[], Child]
    child: Child
    started: float = field(default_factory=time.monotonic)
    backoff: float = 1.0


class Intake:
    """Listener processes on one port, worker processes behind them, and, if they are configured, the puller and the
    sender of results.

    They end with this process, however it ends. One that dies is started again; what a dead worker had claimed goes
    back to the queue.

    Parameters
    ----------
    config
        As loaded from the kit (`NodeConfig.load`): the processes read it from there.

    Examples
    --------
    >>> from pathlib import Path
    >>> intake = Intake(NodeConfig.load(Path("kits/hospital-a")))  # doctest: +SKIP
    >>> intake.start()  # doctest: +SKIP
    >>> intake.alive()  # doctest: +SKIP
    {'listener-0': True, 'listener-1': True, 'worker-0': True}
    >>> intake.stop(timeout=30)  # doctest: +SKIP
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._places: dict[str, _Place] = {}
        self._listening: socket.socket | None = None
        self._archive: Archive | None = None
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self) -> None:
        """Start all processes; returns when associations are accepted.

        Raises
        ------
        IntakeError
            The port cannot be bound, or a process does not come up.
        client_plugin.archive.keys.KeyUnusable, client_plugin.archive.database.CatalogueUnusable
            The site key or the catalogue cannot be used.
        """
        if self._places:
            raise RuntimeError("the intake runs already")
        self._stopping.clear()
        self._listening = _bind(self._config.dicom)
        try:
            self._archive = Archive.open(self._config)  # makes key and tables once, before several processes need them
            self._archive.catalogue.release_claims()
            self._spawn_all(self._listening.fileno())
        except BaseException:
            self.stop(timeout=1.0)
            raise
        self._watcher = threading.Thread(target=self._watch, name="intake-watch", daemon=True)
        self._watcher.start()

    def alive(self) -> dict[str, bool]:
        """Each process by name, and whether it runs."""
        return {name: place.child.alive() for name, place in self._places.items()}

    @property
    def port(self) -> int | None:
        """The TCP port that is listened on, while running."""
        return int(self._listening.getsockname()[1]) if self._listening is not None else None

    def stop(self, timeout: float | None = None) -> None:
        """Stop: no new association, running ones finish within ``timeout`` seconds, then the rest is killed.

        Instances that are in the spool stay there and are processed after the next start.

        Parameters
        ----------
        timeout
            Default: ``dicom.drain_timeout`` and a little.
        """
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        for place in self._places.values():
            place.child.terminate()
        deadline = time.monotonic() + (self._config.dicom.drain_timeout + 5.0 if timeout is None else timeout)
        for place in self._places.values():
            place.child.wait(max(0.1, deadline - time.monotonic()))
        self._places.clear()
        self._archive = None

    def _spawn_all(self, listening: int) -> None:
        kit = ["--kit", str(self._config.kit)]
        for number in range(self._config.dicom.processes):
            options = [*kit, "--listening", str(listening)]
            self._place(partial(spawn, _LISTENER, f"listener-{number}", options, [listening]))
        for number in range(self._config.intake.workers):
            options = [*kit, "--name", f"worker-{number}", *(["--sealing"] if number == 0 else [])]
            self._place(partial(spawn, _WORKER, f"worker-{number}", options))
        if self._config.send.enabled:
            self._place(partial(spawn, _SENDER, "sender", kit))
        if self._config.can_pull:
            self._place(partial(spawn, _PULLER, "puller", kit))
        for name, place in self._places.items():
            if not place.child.wait_ready(_START_TIMEOUT):
                raise IntakeError(f"{name} did not come up: it said why on standard error")

    def _place(self, start: Callable[[], Child]) -> None:
        child = start()
        self._places[child.name] = _Place(start, child)

    def _watch(self) -> None:
        while not self._stopping.wait(_WATCH):
            for name, place in self._places.items():
                now = time.monotonic()
                if place.child.alive():
                    if now - place.started > _MAX_BACKOFF:
                        place.backoff = 1.0
                elif now - place.started > place.backoff:
                    try:
                        self._restart(name, place)
                    except Exception:  # no memory, no database: tried again
                        log.exception("a process of the intake could not be restarted", extra=logs.fields(worker=name))

    def _restart(self, name: str, place: _Place) -> None:
        log.warning("a process of the intake ended and is started again", extra=logs.fields(worker=name))
        place.child.wait(0.1)
        if name.startswith("worker") and self._archive is not None:
            self._archive.catalogue.release_claims(claimant(name, place.child.process.pid))
        place.child, place.started = place.start(), time.monotonic()
        place.backoff = min(_MAX_BACKOFF, place.backoff * 2)


def _bind(dicom: DicomConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in dicom.host else socket.AF_INET
    try:
        return socket.create_server((dicom.host, dicom.port), family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise IntakeError(
                f"port {dicom.port} is in use: stop what listens there or change dicom.port in fedpacs.yaml"
            ) from None
        raise IntakeError(
            f"cannot listen on {dicom.host}:{dicom.port} ({error.strerror}): check dicom.host and dicom.port"
        ) from None
