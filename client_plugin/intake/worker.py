"""A worker process: takes received instances out of the spool and archives them, de-identified.

``python -m client_plugin.intake.worker --kit KIT``. Any number may run; one of them (``--sealing``) also seals
studies that have been quiet long enough.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from client_plugin.archive.archive import Archive
from client_plugin.archive.database import CatalogueUnusable
from client_plugin.archive.keys import KeyUnusable, SiteKeys
from client_plugin.config import ConfigError, NodeConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Vault
from client_plugin.intake.pipeline import Pipeline
from client_plugin.intake.process import Stopping, arguments
from client_plugin.intake.spool import Spool
from observability import logs

log = logging.getLogger("client_plugin.intake.worker")  # not __main__, which is nobody's logger

BATCH = 8
"""Instances per claim: what a dying worker delays, and how often the catalogue is asked."""
_IDLE = 0.2  # seconds between looks at an empty queue
_TROUBLE = 2.0  # seconds after the catalogue could not be asked


def work(archive: Archive, pipeline: Pipeline, name: str, max_tries: int, stop: threading.Event) -> None:
    """Process instances until ``stop``; the one at hand is finished, the rest of its batch goes back."""
    while not stop.is_set():
        try:
            rows = archive.catalogue.claim(name, BATCH, max_tries=max_tries)
        except Exception:  # the database may be away for a while
            log.exception("no instances could be claimed")
            stop.wait(_TROUBLE)
            continue
        for row in rows:
            if stop.is_set():
                break
            try:
                pipeline.process(row)
            except Exception:  # not even the failure could be recorded; the claim's lease ends
                log.exception("the outcome of an instance could not be recorded")
                stop.wait(_TROUBLE)
        if not rows:
            stop.wait(_IDLE)
    archive.catalogue.release_claims(name)


def seal_quiet_studies(archive: Archive, quiet: timedelta, stop: threading.Event) -> None:
    """Seal studies that had no news for ``quiet``, until ``stop``; at most a quarter of that, or 5 s, late."""
    period = min(5.0, max(0.2, quiet.total_seconds() / 4))
    while not stop.wait(period):
        try:
            sealed = archive.catalogue.seal_quiet_studies(quiet, datetime.now(UTC))
        except Exception:  # tried again in a moment
            log.exception("quiet studies could not be sealed")
            continue
        if sealed:
            log.info("studies sealed", extra=logs.fields(count=len(sealed)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one worker until SIGTERM or the death of its parent."""
    parser = arguments(__doc__.partition("\n")[0])
    parser.add_argument("--name", default=f"worker-{os.getpid()}", help="under which instances are claimed")
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
    logs.configure("worker", config.site, config.root / "logs")
    spool = Spool(config.spool, keys.derive("spool"))
    deidentifier = Deidentifier(Profile.from_config(config.deidentification), keys)
    pipeline = Pipeline(spool, archive, deidentifier, config.intake.max_tries, Vault.open(config, keys))
    sealing = None
    if options.sealing:
        quiet = timedelta(seconds=config.intake.quiet_seconds)
        sealing = threading.Thread(target=seal_quiet_studies, args=(archive, quiet, stopping.event), name="sealing")
        sealing.start()
    stopping.ready()
    work(archive, pipeline, options.name, config.intake.max_tries, stopping.event)
    if sealing is not None:
        sealing.join()
    log.info("worker stopped", extra=logs.fields(worker=options.name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
