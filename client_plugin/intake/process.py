"""Processes of the node: how one is started, says it is ready, is told to stop, and never outlives its parent.

Parent and child share a socket. The child writes one byte when it is ready; when the parent dies, however it dies,
the child reads the end of the stream and stops. (``PR_SET_PDEATHSIG`` would fire when the *thread* that started the
child ends.) Started by hand or by systemd, without that socket, a process only listens for SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import client_plugin

log = logging.getLogger(__name__)


class Stopping:
    """The child's side: set by SIGTERM, SIGINT or the death of the parent.

    Parameters
    ----------
    supervisor
        Descriptor of the socket shared with the parent, or None.
    """

    def __init__(self, supervisor: int | None) -> None:
        self.event = threading.Event()
        self._socket = socket.socket(fileno=supervisor) if supervisor is not None else None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.event.set())
        threading.excepthook = _thread_failed
        if self._socket is not None:
            threading.Thread(target=self._watch, args=(self._socket,), name="parent", daemon=True).start()

    def ready(self) -> None:
        """Tell the parent that this process does its work now."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.send(b"+")

    def _watch(self, parent: socket.socket) -> None:
        with contextlib.suppress(OSError):
            parent.recv(1)  # the parent never writes: this returns when it has gone
        self.event.set()


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    """Log a thread's end by the class and place of its exception; Python would print its text, which quotes data."""
    if args.exc_value is not None:
        log.error("a thread failed", exc_info=args.exc_value)


@dataclass
class Child:
    """The parent's side of one process."""

    name: str
    process: subprocess.Popen[bytes]
    _socket: socket.socket

    def wait_ready(self, timeout: float) -> bool:
        """Whether it said that it is ready, within ``timeout`` seconds."""
        self._socket.settimeout(timeout)
        try:
            return self._socket.recv(1) == b"+"
        except OSError:
            return False

    def alive(self) -> bool:
        return self.process.poll() is None

    def terminate(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()

    def wait(self, timeout: float) -> None:
        """Wait for its end; after ``timeout`` seconds it is killed."""
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._socket.close()


def spawn(module: str, name: str, arguments: Sequence[str], descriptors: Sequence[int] = ()) -> Child:
    """Start ``python -m module`` with a supervising socket.

    Parameters
    ----------
    arguments
        Its command line.
    descriptors
        Open descriptors that it inherits under the same numbers.
    """
    ours, theirs = socket.socketpair()
    root = str(Path(client_plugin.__file__).parents[1])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", module, *arguments, "--supervisor", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno(), *descriptors],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal goes to the parent, which decides
            env={**os.environ, "PYTHONPATH": path},
        )
    return Child(name, process, ours)


def claimant(name: str, pid: int) -> str:
    """Under what a worker claims instances: a successor of the same name must not be taken for it."""
    return f"{name}:{pid}"


def arguments(description: str) -> argparse.ArgumentParser:
    """The command line that all processes of the node share."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--kit", type=Path, required=True, help="the hospital's NVFlare startup kit")
    parser.add_argument("--supervisor", type=int, help=argparse.SUPPRESS)
    return parser
