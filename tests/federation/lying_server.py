"""Servers that lie, for the tests: the workflow with one step changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secure_aggregation.server import Ceremony
from server_config.aggregator import EncryptedSums
from server_config.exchange import Exchange
from server_config.workflow import TASK_REVEAL, EncryptedFedAvg


class LyingFedAvg(EncryptedFedAvg):
    """See the module.

    Parameters
    ----------
    lie
        ``middle``: put keys of its own into a hospital's announcement; ``sum``: change the sum; ``drop``: name sites
        that are not in the sum; ``second``: ask for the shares of two sets of sites.
    """

    def __init__(self, lie: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._lie = lie

    def _ceremony_once(self, ceremony: Ceremony, sites: list[str], run: Exchange) -> set[str]:
        if self._lie == "middle":
            honest = ceremony.roster

            def lying() -> Any:
                roster = honest()
                member = roster.members[sites[0]]
                wire = member.wire.replace(member.seal_key.hex().encode(), b"09" * 32)
                return replace(roster, members={**roster.members, sites[0]: replace(member, wire=wire)})

            ceremony.roster = lying  # type: ignore[method-assign]
        return super()._ceremony_once(ceremony, sites, run)

    def _reveal(self, sums: EncryptedSums, run: Exchange) -> None:
        super()._reveal(sums, run)
        if self._lie == "second":
            running = sums._sum
            everybody = dict(running._updates)
            running._updates.pop(sums.sites[-1])
            data = {site: sums.question(site) for site in sums.sites}
            self.second_answers = run.run(TASK_REVEAL, data, 20)
            running._updates.update(everybody)
            if set(self.second_answers.values()) == {"second_reveal"}:
                run.log("every site refused the second set")

    def _round(self, step: int, sums: EncryptedSums, last: Any, run: Exchange) -> Any:
        closed = super()._round(step, sums, last, run)
        if self._lie == "sum":
            closed.payload[6] ^= 0x20
        return closed
