"""A worker process: takes received instances out of the spool and archives them, de-identified.

``python -m client_plugin.intake.worker --kit KIT``. Any number may run; one of them (``--sealing``) also seals
studies that have been quiet long enough.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import UTC, datetime, timedelta

from client_plugin.archive.archive import Archive, Written
from client_plugin.archive.database import CatalogueUnusable
from client_plugin.archive.keys import KeyUnusable, SiteKeys
from client_plugin.archive.models import Completeness
from client_plugin.archive.received import ReceivedRow
from client_plugin.config import ConfigError, IntakeConfig, NodeConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Vault
from client_plugin.intake.pipeline import Pipeline
from client_plugin.intake.process import Stopping, arguments, claimant
from client_plugin.intake.spool import Spool
from client_plugin.intake.study_names import StudyNames
from client_plugin.metrics import instruments as metrics
from observability import logs

log = logging.getLogger("client_plugin.intake.worker")  # not __main__, which is nobody's logger

BATCH = 16
"""Instances per claim, and per commit: what a dying worker delays, and how often disk and catalogue are waited for."""
_HELD = 1.0  # seconds that an instance, de-identified, waits for others to be committed with
_IDLE = 0.2  # seconds between looks at an empty queue
_TROUBLE = 1.0  # seconds to wait when the disk or the catalogue fails, doubled each time
_MAX_PAUSE = 30.0


class Worker:
    """Claims instances in batches and processes them. While one batch is archived the next one is de-identified.

    Parameters
    ----------
    archive, pipeline
        Where instances are claimed and what is done to them.
    name
        Under which they are claimed, see `claimant`.
    max_tries
        After so many an instance that fails is quarantined.
    stop
        Ends `run`; what was prepared of the batch at hand is archived, the rest goes back.
    """

    def __init__(self, archive: Archive, pipeline: Pipeline, name: str, max_tries: int, stop: threading.Event) -> None:
        self._catalogue = archive.catalogue
        self._pipeline = pipeline
        self._name = name
        self._max_tries = max_tries
        self._stop = stop
        self._pause = _TROUBLE
        self._archiving = ThreadPoolExecutor(1, "archiving")  # it waits for the disk, which needs no core
        self._archived: Future[None] | None = None
        self._claimed: list[ReceivedRow] = []
        """Claims that may be open: those of the batch at hand and of the one that is being archived."""

    def run(self) -> None:
        """Work until told to stop."""
        with self._archiving:
            while not self._stop.is_set():
                try:
                    rows = self._catalogue.claim(self._name, BATCH, max_tries=self._max_tries)
                    if not rows:
                        self._wait_for_archiving()
                except Exception:  # the database may be away for a while
                    log.exception("the node is in trouble; instances wait")
                    self._give_up()
                    continue
                if rows:
                    self._process(rows)
                else:
                    self._stop.wait(_IDLE)
            try:
                self._wait_for_archiving()
            except Exception:
                log.exception("the node is in trouble; instances wait")
            self._put_back()

    def _process(self, rows: list[ReceivedRow]) -> None:
        before, self._claimed = len(self._claimed), [*self._claimed, *rows]
        ready: list[Written] = []
        try:
            since = time.monotonic()
            for row in rows:
                if self._stop.is_set():
                    break
                if (written := self._pipeline.prepare(row)) is not None:
                    ready.append(written)
                if time.monotonic() - since > _HELD:  # slow ones do not keep the quick ones waiting
                    self._hand_over(ready)
                    ready, since = [], time.monotonic()
            self._hand_over(ready)
        except Exception:  # the node's fault, not the instances': it must not cost them a try
            log.exception("the node is in trouble; instances wait")
            for written in ready:
                written.discard()
            self._give_up()
        else:
            del self._claimed[:before]
            self._pause = _TROUBLE

    def _hand_over(self, ready: list[Written]) -> None:
        self._wait_for_archiving()
        self._archived = self._archiving.submit(self._pipeline.archive, ready)

    def _wait_for_archiving(self) -> None:
        """Raises what archiving raised: the node is in trouble."""
        archived, self._archived = self._archived, None
        if archived is not None:
            archived.result()

    def _give_up(self) -> None:
        """Wait a while, then give back what was claimed."""
        self._wait()
        if self._archived is not None:
            wait([self._archived])
            self._archived = None  # what it did not archive goes back with the rest
        self._put_back()

    def _put_back(self) -> None:
        """Return the claims that are left; as long as not even that can be recorded, wait.

        What is left at the end, a start returns.
        """
        while self._claimed:
            try:
                self._catalogue.postpone(self._claimed, self._name)
            except Exception:
                log.exception("claims could not be returned")
                if self._stop.is_set():
                    return
                self._wait()
            else:
                self._claimed = []

    def _wait(self) -> None:
        self._stop.wait(self._pause)
        self._pause = min(_MAX_PAUSE, 2 * self._pause)


def seal_quiet_studies(archive: Archive, config: IntakeConfig, stop: threading.Event) -> None:
    """Seal studies that are quiet and whole, until ``stop``; at most a quarter of the quiet time, or 5 s, late."""
    quiet, patience = timedelta(seconds=config.quiet_seconds), timedelta(seconds=config.count_seconds)
    while not stop.wait(min(5.0, max(0.2, config.quiet_seconds / 4))):
        try:
            sealed = archive.catalogue.seal_quiet_studies(quiet, datetime.now(UTC), patience)
        except Exception:  # tried again in a moment
            log.exception("quiet studies could not be sealed")
            continue
        for study in sealed:
            metrics.STUDIES_SEALED.inc(study.completeness)
            if study.completeness is Completeness.INCOMPLETE:
                log.warning("a study was sealed incomplete", extra=logs.fields(count=study.here))
        if sealed:
            log.info("studies sealed", extra=logs.fields(count=len(sealed)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until SIGTERM or the death of its parent."""
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--name", default="worker", help="for logs, and under which instances are claimed")
    parser.add_argument("--sealing", action="store_true", help="seal quiet studies as well")
    options = parser.parse_args(argv)
    stopping = Stopping(options.supervisor)
    try:
        config = NodeConfig.load(options.kit)
        keys = SiteKeys.open(config)
        archive = Archive.open(config)
    except (ConfigError, KeyUnusable, CatalogueUnusable, OSError) as error:
        print(f"worker: {error}", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_DATA, (config.intake.worker_memory_bytes,) * 2)
    logs.configure("worker", config.site, config.root / "logs")
    spool = Spool(config.spool, keys.derive("spool"))
    deidentifier = Deidentifier(Profile.from_config(config.deidentification), keys)
    pipeline = Pipeline(
        spool,
        archive,
        deidentifier,
        config.intake.max_tries,
        Vault.open(config, keys),
        names=StudyNames(config, keys),
        counted=config.can_pull,
    )
    sealing = None
    if options.sealing:
        sealing = threading.Thread(
            target=seal_quiet_studies, args=(archive, config.intake, stopping.event), name="sealing"
        )
        sealing.start()
    gc.collect()
    gc.freeze()  # what is loaded by now stays: collections need not go through it
    stopping.ready()
    Worker(archive, pipeline, claimant(options.name, os.getpid()), config.intake.max_tries, stopping.event).run()
    if sealing is not None:
        sealing.join()
    log.info("worker stopped", extra=logs.fields(worker=options.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
