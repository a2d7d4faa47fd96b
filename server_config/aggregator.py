"""Adds updates as they arrive. The process that runs this holds no key: it imports neither SEAL nor anything that
could open a sum.
"""

from __future__ import annotations

import threading

from secure_aggregation.ceremony import Roster, Wire
from secure_aggregation.parameters import Parameters
from secure_aggregation.rounds import Closed, least_contributors
from secure_aggregation.server import RunningSum


class EncryptedSums:
    """The sums of one epoch, one at a time. Safe to use from NVFlare's threads.

    Parameters
    ----------
    roster, parameters
        Of the epoch.
    layout
        Keyed digest of the layout that the sites confirmed, if they declared one.
    """

    def __init__(self, roster: Roster, parameters: Parameters, layout: bytes | None) -> None:
        self.roster = roster
        self.parameters = parameters
        self._layout = layout
        self._lock = threading.Lock()
        self._running: RunningSum | None = None

    @property
    def sites(self) -> list[str]:
        """The roster's sites."""
        return self.roster.sites

    def least(self, min_sites: int) -> int:
        """Fewest contributors of a sum that the sites open."""
        return least_contributors(min_sites, len(self.sites), self.parameters)

    def open_round(self, step: int) -> None:
        """Start the sum of a round; the one before is dropped."""
        with self._lock:
            self._running = RunningSum(self.roster, self.parameters, step, self._layout)

    @property
    def _sum(self) -> RunningSum:
        if self._running is None:
            raise RuntimeError("no round is open")
        return self._running

    def add(self, site: str, wire: Wire) -> float:
        """Check and add one update; the answer is the seconds it took.

        Raises
        ------
        ProtocolError
            With the reason; the sum is as before.
        """
        with self._lock:
            before = self._sum.seconds
            self._sum.add(site, wire)
            return self._sum.seconds - before

    @property
    def contributors(self) -> list[str]:
        """Sites in the running sum."""
        return list(self._sum.contributors)

    @property
    def seconds(self) -> float:
        """Seconds spent on the running sum."""
        return self._sum.seconds

    def question(self, site: str) -> Wire:
        """With masks: what the site is asked to reveal. Closes the sum to further updates."""
        with self._lock:
            return self._sum.reveal(site)

    def revealed(self, site: str, wire: Wire) -> None:
        """Take what a site revealed.

        Raises
        ------
        ProtocolError
            With the reason.
        """
        with self._lock:
            self._sum.revealed(site, wire)

    @property
    def unmasked(self) -> bool:
        """Whether enough sites have revealed; always so without masks."""
        return self._sum.unmasked

    def close(self) -> Closed:
        """The sum as the sites get it.

        Raises
        ------
        ProtocolError
            With the reason.
        """
        with self._lock:
            return self._sum.close()
