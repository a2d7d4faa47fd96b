"""What a source of studies is, whatever protocol it speaks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from client_plugin.dicom.pull.query import PullQuery


class PullReason(StrEnum):
    """Why a study could not be had."""

    UNREACHABLE = "unreachable"
    """No connection, no answer in time, or no agreement on TLS."""
    REJECTED = "rejected"
    """The source does not accept associations from our AE title, or the service."""
    LOST = "connection-lost"
    """The association or connection ended before the answer."""
    STALLED = "stalled"
    """No sign of life for ``pull.stall_seconds``."""
    STOPPED = "stopped"
    """We were told to stop."""
    NOT_FOUND = "not-found"
    """The source has no such study any more."""
    DESTINATION_UNKNOWN = "destination-unknown"
    """The source does not know our AE title as a destination of C-MOVE."""
    NOT_AUTHORISED = "not-authorised"
    """The source refuses to hand it out."""
    NOT_SUPPORTED = "not-supported"
    """The source does not offer this service."""
    OUT_OF_RESOURCES = "source-out-of-resources"
    """The source could not do it now."""
    FAILED = "source-failed"
    """The source failed in another way."""
    INCOMPLETE = "incomplete"
    """The source ended without having sent everything it lists."""
    REFUSED_HERE = "refused-here"
    """Our own intake could not take it: no space."""
    CANCELLED = "cancelled"
    """A person gave it up."""
    INTERNAL = "internal-error"
    """The puller itself failed; see the log."""


FINAL = frozenset(
    {PullReason.NOT_FOUND, PullReason.DESTINATION_UNKNOWN, PullReason.NOT_AUTHORISED, PullReason.NOT_SUPPORTED}
)
"""Reasons that another try would not change."""


class PullError(Exception):
    """A source could not be asked, or did not hand out what it has."""

    def __init__(self, reason: PullReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class FoundStudy:
    """A study at the source. Its UID is the original one: keep it in memory, or sealed."""

    study_uid: str
    instances: int | None


class Watch:
    """Between a retrieval and who looks after it: signs of life one way, the order to stop the other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._abort: Callable[[], None] | None = None
        self._last_news = time.monotonic()
        self.stopped: PullReason | None = None

    def arm(self, abort: Callable[[], None]) -> None:
        """From now on ``abort`` breaks the retrieval off; at once, if that was asked for before."""
        with self._lock:
            self._abort = abort
            asked = self.stopped is not None
        if asked:
            abort()

    def news(self) -> None:
        """The source gave a sign of life."""
        self._last_news = time.monotonic()

    @property
    def silent_for(self) -> float:
        """Seconds since the last sign of life."""
        return time.monotonic() - self._last_news

    def stop(self, reason: PullReason) -> None:
        """Break the retrieval off; the first reason counts. To be repeated until the retrieval has ended."""
        with self._lock:
            self.stopped = self.stopped or reason
            abort = self._abort
        if abort is not None:
            abort()


class Source(Protocol):
    """A PACS or archive to pull from. Every method raises `PullError`."""

    def find(self, query: PullQuery) -> Iterator[FoundStudy]:
        """The studies that fit, each once."""

    def instances(self, study_uid: str, watch: Watch) -> dict[str, str]:
        """SOP Instance UID → SOP Class UID of everything in a study; empty if it is not there."""

    def retrieve(self, study_uid: str, missing: Mapping[str, str], watch: Watch) -> int | None:
        """Have the study come into the intake; returns when the source says that it is through.

        Parameters
        ----------
        missing
            The instances that are not here yet, as `instances` gives them. More may come.

        Returns
        -------
        int or None
            How many instances the study has by the source's sub-operations, if it counted them.
        """
