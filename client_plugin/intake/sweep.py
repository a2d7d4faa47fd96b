"""Cleaning the spool when a writing process starts."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from typing import Protocol

from client_plugin.intake.spool import Spool
from observability import logs

log = logging.getLogger(__name__)

_SETTLED = 60.0
"""Seconds: a younger file is left alone. A database server may still be committing for a client that died."""


class SpoolIndex(Protocol):
    """The part of the catalogue that is needed here."""

    def spool_names_in_use(self, spool_names: Iterable[str]) -> set[str]: ...


def sweep(spool: Spool, catalogue: SpoolIndex) -> None:
    """Take a slot of the spool and settle what dead writers left.

    What the catalogue needs is published, if the power failed before its new name was durable. The rest is deleted:
    half-written files, files that were never acknowledged, raw copies of archived instances.
    """
    left = spool.take_slot()
    settled = time.time() - _SETTLED
    whole = [name for name in left.whole if spool.path(name).stat().st_mtime < settled]
    needed = catalogue.spool_names_in_use([*left.provisional, *whole])
    recovered = [name for name in left.provisional if name in needed]
    if recovered:
        spool.publish(recovered)
        spool.sync()
    unused = {*left.provisional, *whole} - needed
    for name in unused:
        spool.delete(name)
    log.info("the spool was cleaned up behind dead writers", extra=logs.fields(count=len(unused)))
