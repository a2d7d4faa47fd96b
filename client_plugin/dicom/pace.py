"""A message that trickles in is not waited for: it would hold an association, and a slot of the listener, for days.

A silent peer is cut by the network timeout alone. One that sends a few bytes just in time is not silent; what it has
to do is get on.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MIN_PROGRESS = 64 << 10
"""Bytes of a message that must arrive within each network timeout, unless it ends before: with the default timeout of
two minutes half a kilobyte a second."""


class TooSlow(TimeoutError):  # noqa: N818 - it is the peer that is described
    """A message made too little progress."""


class Pace:
    """Watches over the messages of one association, one after the other.

    Parameters
    ----------
    seconds
        In which `MIN_PROGRESS` bytes must come; None: for ever.
    clock
        Seconds, monotonic.

    Examples
    --------
    >>> seconds = iter([0.0, 9.0, 11.0])
    >>> pace = Pace(10.0, clock=lambda: next(seconds))
    >>> pace.received(100), pace.received(100)
    (None, None)
    >>> pace.received(100)
    Traceback (most recent call last):
    client_plugin.dicom.pace.TooSlow: a message made too little progress
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._since: float | None = None
        self._bytes = 0

    def received(self, size: int) -> None:
        """A fragment of the message at hand has arrived; raises `TooSlow`."""
        if self._seconds is None:
            return
        now = self._clock()
        if self._since is None:
            self._since, self._bytes = now, 0
        self._bytes += size
        if now - self._since > self._seconds:
            if self._bytes < MIN_PROGRESS:
                raise TooSlow("a message made too little progress")
            self._since, self._bytes = now, 0

    def ended(self) -> None:
        """The message is complete: until the next one begins nothing is expected."""
        self._since = None
