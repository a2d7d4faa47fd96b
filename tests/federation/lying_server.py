"""Servers that lie, for the tests: the workflow with one step changed, by round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from secure_aggregation import ceremony
from secure_aggregation.ceremony import Roster, Wire
from secure_aggregation.rounds import TRAIN, Closed, round_message
from secure_aggregation.server import Ceremony
from server_config.aggregator import EncryptedSums
from server_config.ceremonies import TASK_ANNOUNCE, Ceremonies
from server_config.exchange import Answer, Exchange
from server_config.workflow import TASK_REVEAL, EncryptedFedAvg


class ToOneSite(Exchange):
    """Says something else to one site than to the others."""

    def __init__(self, honest: Exchange, task: str, site: str, lie: Wire) -> None:
        super().__init__(honest._controller, honest._fl_ctx, honest._abort_signal)
        self._lie = task, site, lie

    def run(self, name: str, data: Mapping[str, Wire], *arguments: Any, **more: Any) -> dict[str, str]:
        task, site, lie = self._lie
        told = {**data, site: lie} if name == task else data
        return super().run(name, told, *arguments, **more)


def _forged(roster: Roster, site: str) -> Roster:
    """With a key of the server's own in a hospital's announcement."""
    member = roster.members[site]
    wire = member.wire.replace(member.seal_key.hex().encode(), b"09" * 32)
    return replace(roster, members={**roster.members, site: replace(member, wire=wire)})


class LyingFedAvg(EncryptedFedAvg):
    """See the module.

    Parameters
    ----------
    lies
        One for each round, "" for none. ``middle``: put keys of its own into a hospital's announcement; ``sum of
        one``, ``fewer names``: change the sum that the round begins with, or name fewer contributors than are in it,
        for the last site only; ``second``: ask for the shares of two sets of sites; ``twice``: add every update twice;
        ``old``: play an old round, an old ceremony and another job's to the sites.
    """

    def __init__(self, lies: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lies = lies
        self._lie = lies[0]

    def _ceremonies(self, run: Exchange) -> Ceremonies:
        keys = super()._ceremonies(run)
        if self._lie == "middle":
            honest = keys.once

            def lying(one: Ceremony, sites: list[str]) -> set[str]:
                member = one.roster
                one.roster = lambda: _forged(member(), sites[0])  # type: ignore[method-assign]
                return honest(one, sites)

            keys.once = lying  # type: ignore[method-assign]
        return keys

    def _round(self, step: int, sums: EncryptedSums, last: Closed | None, run: Exchange) -> Closed:
        self._lie = self._lies[step]
        if self._lie == "old":
            self._play_again(step, sums, last, run)
        if last is not None and self._lie in ("sum of one", "fewer names"):
            total = replace(last, payload=last.payload.copy())
            total.payload[6] ^= 0x20
            if self._lie == "fewer names":
                total = replace(last, updates=list(last.updates)[1:])
            lie = round_message(sums.roster, step, self._num_rounds, TRAIN, total)
            run = ToOneSite(run, self._train_task, sums.sites[-1], lie)
        return super()._round(step, sums, last, run)

    def _play_again(self, step: int, sums: EncryptedSums, last: Closed | None, run: Exchange) -> None:
        roster = sums.roster
        old = {
            self._train_task: round_message(roster, step - 1, self._num_rounds, TRAIN, last),
            TASK_ANNOUNCE: ceremony.announce_request(run.job, roster.epoch),
        }
        for task, wire in old.items():
            run.run(task, dict.fromkeys(sums.sites, wire), 20)
        other = ceremony.announce_request("another-job", roster.epoch + 1)
        run.run(TASK_ANNOUNCE, dict.fromkeys(sums.sites, other), 20)

    def _accept_update(self, sums: EncryptedSums, answer: Answer) -> None:
        super()._accept_update(sums, answer)
        if self._lie == "twice" and answer.payload.size:
            sums.add(answer.site, answer.payload)

    def _reveal(self, sums: EncryptedSums, run: Exchange) -> None:
        super()._reveal(sums, run)
        if self._lie == "second":
            running = sums._sum
            everybody = dict(running._updates)
            running._updates.pop(sums.sites[0])
            data = {site: sums.question(site) for site in sums.sites}
            answers = run.run(TASK_REVEAL, data, 20)
            running._updates.update(everybody)
            if set(answers.values()) == {"second_reveal"}:
                run.log("every site refused the second set")
