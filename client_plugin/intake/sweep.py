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
    """Take a slot of the spool and delete what dead writers left that nobody waits for.

    That is: half-written files, files that were never acknowledged, and raw copies of archived instances.
    """
    left = spool.take_slot()
    settled = time.time() - _SETTLED
    whole = [name for name in left.whole if spool.path(name).stat().st_mtime < settled]
    unused = {*left.provisional, *whole} - catalogue.spool_names_in_use(whole)
    for name in unused:
        spool.delete(name)
    log.info("the spool was cleaned up behind dead writers", extra=logs.fields(count=len(unused)))
