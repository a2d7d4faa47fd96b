"""What a job's workflow can say about itself: for the admin console (``show_stats server``), ``rounds.json`` and
reports.
"""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class SiteRound:
    """One site in one round.

    Attributes
    ----------
    seconds
        From the site's taking of the task to its answer.
    bytes_up
        Size of its update on the wire.
    metrics
        What the site's policy let it say in clear.
    refused
        Why its answer was not added: a reason of the protocol, a return code of NVFlare's, or None.
    """

    seconds: float
    bytes_up: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    refused: str | None = None


@dataclass
class RoundProgress:
    """One round.

    Attributes
    ----------
    number
        Counted from 1.
    contributors
        Sites whose updates are in the sum.
    sites
        Every site that answered.
    bytes_down
        Bytes of the message that each site got.
    add_seconds
        Server's seconds for checking and adding, all sites.
    """

    number: int
    started: float
    seconds: float = 0.0
    contributors: list[str] = field(default_factory=list)
    sites: dict[str, SiteRound] = field(default_factory=dict)
    bytes_down: int = 0
    add_seconds: float = 0.0


@dataclass
class Progress:
    """One job.

    Attributes
    ----------
    resumed_after
        Rounds that the job which this one resumes has finished; 0: it resumes none.
    """

    num_rounds: int
    resumed_after: int = 0
    phase: str = "starting"
    round: int = 0
    encryption: str = ""
    bits: int = 0
    sites: list[str] = field(default_factory=list)
    ceremony_seconds: float = 0.0
    rounds: list[RoundProgress] = field(default_factory=list)
    finish: dict[str, SiteRound] = field(default_factory=dict)
    error: str | None = None


class Journal:
    """The progress of one job, kept as data in a file. Safe to use from several threads.

    Parameters
    ----------
    progress
        Where it starts.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._path: Path | None = None
        self._lock = threading.RLock()

    def write_to(self, path: Path) -> None:
        """Keep the file ``path`` up to date from now on."""
        self._path = path
        self.write()

    def as_dict(self) -> dict[str, Any]:
        """Plain data, a copy."""
        with self._lock:
            return asdict(self._progress)

    def phase(self, phase: str) -> None:
        """The job enters a phase: ceremony, training, finishing, finished, failed."""
        with self._lock:
            self._progress.phase = phase
        self.write()

    def failed(self, error: str) -> None:
        """The job ends in an error."""
        with self._lock:
            self._progress.error = error
            if self._progress.rounds:
                self._close(self._progress.rounds[-1])
        self.phase("failed")

    def resumed(self, rounds: int) -> None:
        """The job goes on after so many rounds of another."""
        with self._lock:
            self._progress.resumed_after = rounds
        self.write()

    def ceremony(self, sites: list[str], seconds: float) -> None:
        """The key ceremony is complete."""
        with self._lock:
            self._progress.sites = sites
            self._progress.ceremony_seconds += seconds
        self.write()

    def round_started(self, number: int, bytes_down: int) -> None:
        """A round's tasks go out."""
        with self._lock:
            self._progress.round = number
            self._progress.rounds.append(RoundProgress(number, time.time(), bytes_down=bytes_down))
        self.write()

    def answered(self, site: str, answer: SiteRound) -> None:
        """A site answered in the running round."""
        with self._lock:
            self._progress.rounds[-1].sites[site] = answer
        self.write()

    def answered_sites(self) -> set[str]:
        """Sites that answered in the running round, whatever they said."""
        with self._lock:
            return set(self._progress.rounds[-1].sites)

    def round_ended(self, contributors: list[str], add_seconds: float) -> RoundProgress:
        """The sum of the running round is closed."""
        with self._lock:
            current = self._progress.rounds[-1]
            current.contributors = contributors
            current.add_seconds = add_seconds
            self._close(current)
        self.write()
        return current

    def finished(self, site: str, answer: SiteRound) -> None:
        """A site has the final model."""
        with self._lock:
            self._progress.finish[site] = answer
        self.write()

    @staticmethod
    def _close(current: RoundProgress) -> None:
        current.seconds = current.seconds or time.time() - current.started

    def write(self) -> None:
        """Replace the file in one step, so that a reader never sees half of it."""
        if self._path is None:
            return
        with self._lock:
            part = self._path.with_suffix(".part")
            part.write_text(json.dumps(self.as_dict(), indent=1), encoding="utf-8")
            os.replace(part, self._path)  # noqa: PTH105 - the point is the atomic system call
