"""The hospitals' keys, seen from the server: ceremonies until one completes, new keys between rounds, and the model for
sites that are behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence

import numpy as np

from secure_aggregation import catching_up
from secure_aggregation.ceremony import Settings, Wire
from secure_aggregation.identity import Authority
from secure_aggregation.rounds import TRAIN, Closed, round_message
from secure_aggregation.server import Ceremony
from server_config.aggregator import EncryptedSums
from server_config.exchange import Exchange, JobFailedError, taking
from server_config.progress import Journal

TASK_ANNOUNCE = "fedpacs_announce"
TASK_KEYS = "fedpacs_keys"
TASK_CONFIRM = "fedpacs_confirm"
TASK_READY = "fedpacs_ready"
TASK_PING = "fedpacs_ping"
TASK_STATE = "fedpacs_state"
TASK_CATCH_UP = "fedpacs_catch_up"
_PING_SECONDS = 2
_NOTHING: Wire = np.empty(0, np.uint8)


class Ceremonies:
    """All key ceremonies of one job.

    Parameters
    ----------
    settings
        Of the job.
    authority
        Decides which certificates are sites'.
    timeout
        Seconds for each step.
    check
        Raises when the sites that are left are too few; given the sites, the least number and what for.
    run, journal
        Of the workflow.

    Attributes
    ----------
    away
        Sites of the job that do not answer, or could not open what they got.
    """

    def __init__(
        self, settings: Settings, authority: Authority, timeout: int, check: Callable[[Sequence[str], int, str], None],
        run: Exchange, journal: Journal,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._authority = authority
        self._timeout = timeout
        self._check = check
        self._run = run
        self._journal = journal
        self._epoch = 0
        self.away: set[str] = set()

    def complete(self, sites: Collection[str]) -> EncryptedSums:
        """Run ceremonies until one completes with the sites that are left."""
        self._journal.phase("ceremony")
        left = sorted(sites)
        start = time.monotonic()
        while True:
            self._check(left, self._settings.min_sites, "the key ceremony")
            ceremony = Ceremony(self._run.job, self._epoch, self._settings, self._authority)
            self._epoch += 1
            lost = self.once(ceremony, left)
            if not lost:
                break
            self.away |= lost
            left = [site for site in left if site not in lost]
            self._run.log(f"key ceremony again, without {', '.join(sorted(lost))}")
        roster = ceremony.roster()
        self.away -= set(left)
        self._journal.ceremony(left, time.monotonic() - start)
        self._run.log(f"keys of epoch {roster.epoch}: {', '.join(left)}; {roster.transcript.hex()[:16]}")
        return EncryptedSums(roster, self._settings.parameters(len(left)), ceremony.layout)

    def once(self, ceremony: Ceremony, sites: list[str]) -> set[str]:
        """One ceremony; the answer is the sites that failed in it."""

        def step(task: str, data: Callable[[str], Wire], take: Callable[[str, Wire], None]) -> set[str]:
            return set(self._run.run(task, {site: data(site) for site in sites}, self._timeout, taking(take)))

        request = ceremony.request()
        lost = step(TASK_ANNOUNCE, lambda _: request, ceremony.announced)
        if not lost:
            roster = ceremony.roster().message()
            lost = step(TASK_KEYS, lambda _: roster, ceremony.shared)
        if not lost:
            lost = step(TASK_CONFIRM, ceremony.delivery, ceremony.confirmed)
        if not lost:
            ready = ceremony.ready()
            lost = step(TASK_READY, lambda _: ready, lambda _site, _wire: None)
        return lost

    def renew(self, sums: EncryptedSums, closed: Closed, *, due: bool) -> EncryptedSums:
        """Between two rounds: new keys when they are due, when a site dropped out, or when one is back."""
        back = self._returned() if self.away else set()
        # Whoever was not in a masked sum has a mask key that the others know now.
        exposed = sums.parameters.encryption.masks and {u.site for u in closed.updates} != set(sums.sites)
        if not (due or exposed or back or self.away & set(sums.sites)):
            return sums
        renewed = self.complete((set(sums.sites) - self.away) | back)
        # A site that started again without its keys has come to the ceremony like the others, and is behind too.
        behind = back & set(renewed.sites) | set(renewed.roster.behind(closed.step - 1))
        self._catch_up(renewed, closed, behind)
        return renewed

    def resume(self, sums: EncryptedSums) -> int:
        """The first round: the one after the last sum that a hospital's model has, if this job resumes another."""
        latest = sums.roster.standing
        if latest >= 0:
            self._journal.resumed(latest + 1)
            self._run.log(f"resumed after round {latest + 1}")
            self._catch_up(sums, None, set(sums.roster.behind(latest)))
        return latest + 1

    def _returned(self) -> set[str]:
        """Which of the sites that were away answer again."""
        data = dict.fromkeys(sorted(self.away), _NOTHING)
        return self.away - set(self._run.run(TASK_PING, data, _PING_SECONDS))

    def _catch_up(self, sums: EncryptedSums, closed: Closed | None, behind: set[str]) -> None:
        """Have a site that was there all the time open the last sum, and seal to the others what they missed."""
        if not behind:
            return
        source = next((site for site in sums.sites if site not in behind), None)
        if source is None:
            raise JobFailedError("no site has the keys of the last sum any more: clone the job to go on from before it")
        taken: list[Wire] = []
        last = b"" if closed is None else round_message(sums.roster, closed.step + 1, 0, TRAIN, closed)
        request = catching_up.request(sums.roster, last)
        self._run.run(TASK_STATE, {source: request}, self._timeout, taking(lambda _, wire: taken.append(wire)))
        if not taken:
            raise JobFailedError(f"{source} did not hand on the state of the model to {', '.join(sorted(behind))}")
        self._run.run(TASK_CATCH_UP, dict.fromkeys(sorted(behind), taken[0]), self._timeout)
