"""Adds updates as they arrive. The process that runs this holds no key: it imports neither SEAL nor anything that
could open a sum.
"""

from __future__ import annotations

import threading

from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator

from secure_aggregation.ceremony import Roster, Wire
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.parameters import Parameters
from secure_aggregation.rounds import FINISH, TRAIN, Closed, least_contributors, round_message
from secure_aggregation.server import RunningSum

PAYLOAD = "fedpacs"
"""The one name in a model: what stands under it is a message of the protocol."""
_CLIENT_NAME = "client_name"
"""Where NVFlare's ``BaseModelController`` puts the name of the site that it has authenticated."""


class EncryptedSums(ModelAggregator):
    """The sums of one epoch, one at a time. Safe to use from NVFlare's threads.

    ``EncryptedFedAvg`` uses it, and NVFlare's own ``FedAvg(aggregator=...)`` can: a site's "model" is its sealed
    update, and the aggregated "model" is the message that brings the sites the sum. NVFlare's loop has no place for the
    key ceremony, the shares that take the masks off, or a site that drops out; hence a workflow of our own.

    Parameters
    ----------
    roster, parameters
        Of the epoch.
    layout
        Keyed digest of the layout that the sites confirmed, if they declared one.
    rounds
        Of the job. Only the aggregated model needs it: the sum of the last round is sent to finish with.
    """

    def __init__(self, roster: Roster, parameters: Parameters, layout: bytes | None, rounds: int = 0) -> None:
        super().__init__()
        self.roster = roster
        self.parameters = parameters
        self._layout = layout
        self._rounds = rounds
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

    # --- NVFlare's interface ----------------------------------------------------------------------------------

    def reset_stats(self) -> None:
        """Open the next round."""
        self.open_round(0 if self._running is None else self._running.step + 1)

    def accept_model(self, model: FLModel) -> None:
        """Add the sealed update in a site's model.

        Raises
        ------
        ProtocolError
            With the reason; the sum is as before.
        """
        params = model.params or {}
        if set(params) != {PAYLOAD}:
            raise ProtocolError(Reason.MALFORMED, f"a model of the encrypted sum has one entry, {PAYLOAD!r}")
        self.add(str((model.meta or {}).get(_CLIENT_NAME, "")), params[PAYLOAD])

    def aggregate_model(self) -> FLModel:
        """Close the sum. The model is the message that the sites open it from.

        Raises
        ------
        ProtocolError
            ``missing_shares``: with masks, before enough sites have revealed theirs; ``too_few_sites``.
        """
        closed = self.close()
        step = closed.step + 1
        message = round_message(self.roster, step, self._rounds, FINISH if step == self._rounds else TRAIN, closed)
        return FLModel(params={PAYLOAD: message}, params_type=ParamsType.FULL, meta={"contributors": self.contributors})

    # --- the sum ----------------------------------------------------------------------------------------------

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
