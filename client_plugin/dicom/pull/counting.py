"""Asking the PACS how many instances the studies have that were sent to us.

A study that is quiet may be one that lost its connection half-way. Its PACS knows better: what it counts is entered in
the catalogue, and sealing waits until as many are here (`client_plugin.archive.completeness`).
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.counts import CountDue
from client_plugin.archive.sealing import SealBroken
from client_plugin.config import NodeConfig
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.schedule import backoff
from client_plugin.dicom.pull.source import FINAL, PullError, PullReason, Source, Watch
from observability import logs

log = logging.getLogger(__name__)

_NEVER = FINAL | {PullReason.REJECTED}
"""A PACS that answers so will not tell: studies do not wait for it."""


class Names(Protocol):
    """The part of `StudyNames` that is needed here."""

    def original(self, study_uid: str, sealed: bytes) -> str: ...


def count(source: Source, study_uid: str) -> int | None:
    """How many instances ``source`` has of a study, by its original UID; None: it does not know the study.

    Raises
    ------
    PullError
        It could not be asked.
    """
    for found in source.find(PullQuery(study_uid=(study_uid,))):
        if found.instances is not None:
            return found.instances
        return len(source.instances(study_uid, Watch()))  # a PACS need not support the number as a key
    return None


class Counting:
    """Asks about every open study that is quiet, again while the numbers differ.

    Parameters
    ----------
    config
        The quiet time of ``intake`` and the backoff of ``pull``.
    source
        The PACS that is asked.
    now, draw
        Clock (UTC) and random numbers in [0, 1).
    """

    def __init__(
        self,
        config: NodeConfig,
        catalogue: Catalogue,
        source: Source,
        names: Names,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._config = config
        self._catalogue = catalogue
        self._source = source
        self._names = names
        self._now = now
        self._draw = draw

    def run(self, stop: threading.Event) -> None:
        """Ask until ``stop``."""
        while not stop.wait(min(5.0, max(0.2, self._config.intake.quiet_seconds / 4))):
            try:
                self.ask_due()
            except Exception:  # the catalogue may be away for a while
                log.exception("studies could not be counted")

    def ask_due(self) -> int:
        """Ask about what is due once; returns how many studies that were."""
        due = self._catalogue.counts_due(timedelta(seconds=self._config.intake.quiet_seconds), self._now())
        for study in due:
            self._ask(study)
        return len(due)

    def _ask(self, study: CountDue) -> None:
        rules = self._config.pull
        again = self._now() + backoff(study.tries + 1, rules.retry_seconds, rules.retry_max_seconds, self._draw())
        asked_at = self._now()
        try:
            expected = count(self._source, self._names.original(study.study_uid, study.target))
        except PullError as error:
            log.warning("a study could not be counted", extra=logs.fields(reason=error.reason))
            if error.reason in _NEVER:
                self._catalogue.counted(study, None, asked_at, again)
            else:
                self._catalogue.not_counted(study, again)
        except SealBroken:  # made under a key that was lost: nobody can tell any more
            self._catalogue.counted(study, None, asked_at, again)
            log.exception("a study's name at its PACS cannot be read")
        else:
            self._catalogue.counted(study, expected, asked_at, again)
