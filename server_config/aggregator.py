"""Adds updates as they arrive. The process that runs this holds no key: it imports neither SEAL nor anything that
could open a sum.
"""

from __future__ import annotations

import threading

from secure_aggregation.ceremony import Roster, Wire
from secure_aggregation.parameters import Parameters
from secure_aggregation.rounds import round_message
from secure_aggregation.server import RunningSum


class EncryptedSums:
    """The sums of one epoch, one at a time.

    Parameters
    ----------
    roster, parameters
        Of the epoch.
    layout
        Keyed digest of the layout that the sites confirmed, if they declared one.
    """

    def __init__(self, roster: Roster, parameters: Parameters, layout: bytes | None) -> None:
        self._roster = roster
        self._parameters = parameters
        self._layout = layout
        self._lock = threading.Lock()
        self._running: RunningSum | None = None
        self._packed: tuple[int, list[str], Wire] | None = None

    def open_round(self, step: int) -> None:
        """Start the sum of a round; the one before is dropped."""
        with self._lock:
            self._running = RunningSum(self._roster, self._parameters, step, self._layout)

    def add(self, site: str, wire: Wire) -> float:
        """Check and add one update; the answer is the seconds it took.

        Raises
        ------
        ProtocolError
            With the reason; the sum is as before.
        """
        with self._lock:
            if self._running is None:
                raise RuntimeError("no round is open")
            before = self._running.seconds
            self._running.add(site, wire)
            return self._running.seconds - before

    @property
    def contributors(self) -> list[str]:
        """Sites in the running sum."""
        return list(self._running.contributors) if self._running else []

    @property
    def seconds(self) -> float:
        """Seconds spent on the running sum."""
        return self._running.seconds if self._running else 0.0

    def message(self, step: int, rounds: int, purpose: str) -> Wire:
        """What the sites get next: the last sum, if there is one, and what to do."""
        with self._lock:
            if self._running is None:
                return round_message(self._roster, step, rounds, purpose, None)
            return self._running.message(self._roster, step, rounds, purpose)
