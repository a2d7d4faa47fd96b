"""Works the outbox off: ``python -m client_plugin.dicom.send.sender --kit KIT``.

An instance that fails never stops another. One that may succeed later is tried again with the backoff of pulling
(doubled, with jitter); one that cannot, or failed too often, comes to rest as *failed* with its reason.
"""

from __future__ import annotations

import fcntl
import logging
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from typing import Protocol

import pydicom
from pydicom.dataset import FileDataset

from client_plugin.archive.keys import KeyUnusable, SiteKeys
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.dicom.pull.schedule import backoff
from client_plugin.dicom.send.dicomweb import WebDelivery
from client_plugin.dicom.send.dimse import DimseDelivery
from client_plugin.dicom.send.outbox import FINAL, Job, Outbox, SendReason
from client_plugin.intake.process import Stopping, arguments
from observability import logs

log = logging.getLogger("client_plugin.dicom.send.sender")  # not __main__, which is nobody's logger

WEB = "DICOMWEB"
"""The destination that is ``send.dicomweb_url``."""
BATCH = 50
"""Instances in one association."""
_IDLE = 1.0  # seconds between looks at the outbox
_LOCK = "sender.lock"


class Delivery(Protocol):
    """A way to one destination."""

    def deliver(self, batch: Sequence[FileDataset]) -> list[SendReason | None]: ...


def outbox(config: NodeConfig, keys: SiteKeys) -> Outbox:
    """The node's outbox."""
    return Outbox(config.root / "outbox", keys.derive("spool"))


def delivery(config: NodeConfig, destination: str) -> Delivery | None:
    """How to reach a destination; None if it is not configured."""
    if destination == WEB:
        return WebDelivery(config) if config.send.dicomweb_url is not None else None
    peers = [peer for peer in config.dicom.peers if peer.ae_title == destination and peer.host and peer.port]
    return DimseDelivery(config, peers[0]) if peers else None


class Sender:
    """Delivers what is due.

    Parameters
    ----------
    config
        Peers, and the retry rules of ``send``.
    jobs
        The outbox.
    now, draw
        The clock, and a random number in [0, 1) for the jitter.
    """

    def __init__(
        self,
        config: NodeConfig,
        jobs: Outbox,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._jobs = jobs
        self._now = now
        self._draw = draw

    def run(self, stop: threading.Event) -> None:
        """Deliver until ``stop``."""
        self._jobs.tidy(self._now())
        while not stop.is_set():
            if self.work() == 0:
                stop.wait(_IDLE)

    def work(self) -> int:
        """Try every job that is due once; returns how many that were."""
        due = self._jobs.due(self._now())
        destinations: dict[str, list[Job]] = {}
        for job in due:
            destinations.setdefault(job.destination, []).append(job)
        for destination, jobs in destinations.items():
            for start in range(0, len(jobs), BATCH):
                self._deliver(destination, jobs[start : start + BATCH])
        return len(due)

    def _deliver(self, destination: str, jobs: list[Job]) -> None:
        way = delivery(self._config, destination)
        readable: list[tuple[Job, FileDataset]] = []
        for job in jobs:
            if way is None:
                self._settle(job, SendReason.UNKNOWN_DESTINATION)
                continue
            try:
                readable.append((job, pydicom.dcmread(BytesIO(self._jobs.read(job)))))
            except Exception:  # changed, deleted, no DICOM: whatever it is, it will not become better
                log.exception("an instance in the outbox cannot be read")
                self._settle(job, SendReason.UNREADABLE)
        if way is None or not readable:
            return
        try:
            outcomes = way.deliver([instance for _, instance in readable])
        except Exception:
            log.exception("a delivery failed", extra=logs.fields(peer=destination))
            outcomes = [SendReason.INTERNAL] * len(readable)
        for (job, _), reason in zip(readable, outcomes, strict=True):
            self._settle(job, reason)

    def _settle(self, job: Job, reason: SendReason | None) -> None:
        now, rules = self._now(), self._config.send
        tries = job.tries + 1
        if reason is None:
            self._jobs.sent(job, now)
            log.info("sent", extra=logs.fields(peer=job.destination))
        elif reason in FINAL or tries >= rules.max_tries:
            self._jobs.failed(job, reason, now)
            log.error("an instance was given up", extra=logs.fields(peer=job.destination, reason=reason))
        else:
            self._jobs.again(
                job, reason, now + backoff(tries, rules.retry_seconds, rules.retry_max_seconds, self._draw())
            )
            log.warning("an instance is tried again later", extra=logs.fields(peer=job.destination, reason=reason))


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sender until SIGTERM or the death of its parent."""
    options = arguments(__doc__.partition("\n")[0]).parse_args(argv)
    stopping = Stopping(options.supervisor)
    try:
        config = NodeConfig.load(options.kit)
        jobs = outbox(config, SiteKeys.open(config))
    except (ConfigError, KeyUnusable, OSError) as error:
        print(f"sender: {error}", file=sys.stderr)
        return 2
    logs.configure("sender", config.site, config.root / "logs")
    stopping.ready()
    while not stopping.event.is_set():
        with only_one(config) as mine:
            if mine:
                Sender(config, jobs).run(stopping.event)
            else:  # a person's `fedpacs send`, or the sender of a node that was killed: it finishes what it is at
                stopping.event.wait(_IDLE)
    log.info("sender stopped")
    return 0


@contextmanager
def only_one(config: NodeConfig) -> Iterator[bool]:
    """Whether this process may work the outbox off, for the block: one at a time does."""
    config.root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (config.root / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


if __name__ == "__main__":
    sys.exit(main())
