"""A hospital's copy of the federation's model: an opened sum is applied once, a trained round becomes what is sent."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np
from numpy.typing import NDArray

from client_plugin.learning.control_variates import ControlVariates
from client_plugin.learning.training import RoundResult, Weights
from secure_aggregation.standing import AUXILIARY

_CONTROL = AUXILIARY + "control/"
_LOCAL, _OWN, _CHANGE, _MADE_IN = "local/", "own/", "change/", "made in round"


class FederatedModel:
    """See the module. It does no I/O and knows nothing of NVFlare.

    Parameters
    ----------
    site
        This hospital's name.
    start
        The initial weights, the same at every hospital.
    is_local
        Says by name which tensors stay at this hospital (FedBN): they are never sent and never replaced.
    full_weights
        Weights are sent and their mean replaces them, instead of differences.
    variates
        Of SCAFFOLD; None without it.

    Raises
    ------
    ValueError
        SCAFFOLD with full weights: a hospital that missed a round is given the last mean then, and would not know
        what ``c`` became.
    """

    def __init__(
        self,
        site: str,
        start: Weights,
        *,
        is_local: Callable[[str], bool] = lambda _: False,
        full_weights: bool = False,
        variates: ControlVariates | None = None,
    ) -> None:
        if variates and full_weights:
            raise ValueError("the algorithm scaffold sends differences: leave full_weights off")
        self.weights = dict(start)
        self.local = frozenset(name for name in start if is_local(name))
        self._site = site
        self._full_weights = full_weights
        self._variates = variates
        self._applied = 0
        self._made_in = 0
        self._trained: Weights = {}
        self._change: Weights = {}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of everything that a round makes, what stays local included."""
        shapes = {name: value.shape for name, value in self.weights.items()}
        control = self._variates.common if self._variates else {}
        return {**shapes, **{_CONTROL + name: value.shape for name, value in control.items()}}

    @property
    def shared(self) -> Weights:
        """The part that is the same at every hospital."""
        return {name: value for name, value in self.weights.items() if name not in self.local}

    @property
    def correction(self) -> Weights:
        """What the round's gradients are corrected by; empty without SCAFFOLD."""
        return self._variates.correction() if self._variates else {}

    def apply(self, number: int, opened: Mapping[str, NDArray[np.float32]], contributors: Collection[str]) -> bool:
        """Take over the sum that round ``number`` starts with, once: NVFlare may deliver a task again. False: it was
        there already.

        Parameters
        ----------
        opened
            Steps to add or, with full weights, the new weights.
        contributors
            Sites in the sum.
        """
        if number <= self._applied:
            return False
        for name, value in self.weights.items():
            if name in self.local:
                self.weights[name] = self._trained.get(name, value)
            else:
                self.weights[name] = opened[name] if self._full_weights else value + opened[name]
        if self._variates:
            if self._change and self._site in contributors and number == self._made_in + 1:
                self._variates.keep(self._change)
            self._variates.apply({name: opened[_CONTROL + name] for name in self._variates.common})
        self._trained, self._change = {}, {}
        self._applied = number
        return True

    def update(self, result: RoundResult) -> Weights:
        """What is sent of a trained round. What stays local is remembered until the next sum is applied, so that the
        same round done again starts from the same weights."""
        self._made_in = self._applied
        self._trained = {name: result.weights[name] for name in self.local}
        sent = {
            name: result.weights[name] if self._full_weights else result.weights[name] - value
            for name, value in self.shared.items()
        }
        if self._variates:
            self._change = self._variates.change(self.weights, result.weights, result.steps, result.learning_rate)
            sent |= {_CONTROL + name: value for name, value in self._change.items()}
        return sent

    # --- over a restart ---------------------------------------------------------------------------------------

    def own_state(self) -> Weights:
        """What only this hospital has, and no sum brings back: to be kept when an update was made, before it leaves.
        Empty when there is nothing of the kind.
        """
        if not self.local and not self._variates:
            return {}
        local = {name: self._trained.get(name, self.weights[name]) for name in self.local}
        own = self._variates.own if self._variates else {}
        parts = ((_LOCAL, local), (_OWN, own), (_CHANGE, self._change))
        found = {prefix + name: value for prefix, part in parts for name, value in part.items()}
        return {**found, _MADE_IN: np.array([self._made_in], np.float32)}

    def take_own_state(self, kept: Mapping[str, NDArray[np.float32]]) -> None:
        """Go on with what an earlier process kept; the sums come from the session.

        Raises
        ------
        ValueError
            It is of another model.
        """
        expected = {name: value.shape for name, value in self.own_state().items()}
        found = {name: value.shape for name, value in kept.items() if not name.startswith(_CHANGE)}
        if found != expected:
            raise ValueError("what this hospital kept is of another model")
        self._made_in = int(kept[_MADE_IN][0])
        self.weights |= {name: kept[_LOCAL + name] for name in self.local}
        if self._variates:
            self._variates.own = {name: kept[_OWN + name] for name in self._variates.own}
            self._change = {name: kept[_CHANGE + name] for name in self._variates.own if _CHANGE + name in kept}
