"""SCAFFOLD's control variates at one hospital (Karimireddy et al., ICML 2020, algorithm 1, option II).

``c_i`` is this hospital's mean gradient over its last round, ``c`` the mean of all hospitals'. A round is trained with
every gradient corrected by ``c - c_i``. The hospital then sends the change of ``c_i`` beside its update, both in one
sealed vector, and the opened mean of the changes moves ``c``. So nobody else ever sees a ``c_i``.

The paper weighs hospitals equally. Here all means are weighted as the updates are (by images), which keeps
``c = sum(p_i * c_i)`` while the weights stay the same: the control variate of the objective that the federation
minimises.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float32]]


class ControlVariates:
    """``c`` and ``c_i``, both 0 at the start.

    Parameters
    ----------
    shapes
        Of the parameters that the hospitals share.
    bound
        On the absolute value of what is sent: the aggregation clips there, and what a hospital remembers must be
        what it sent.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], bound: float) -> None:
        self._bound = np.float32(bound)
        self.common: Weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.own: Weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def correction(self) -> Weights:
        """``c - c_i``, to be added to every gradient of the round."""
        return {name: value - self.own[name] for name, value in self.common.items()}

    def change(
        self,
        before: Mapping[str, NDArray[np.float32]],
        after: Mapping[str, NDArray[np.float32]],
        steps: int,
        learning_rate: float,
    ) -> Weights:
        """``c_i+ - c_i = (x - y) / (K * rate) - c``: what a round of ``steps`` from ``before`` to ``after`` says."""
        scale = np.float32(1 / (steps * learning_rate))
        return {
            name: np.clip((before[name] - after[name]) * scale - value, -self._bound, self._bound)
            for name, value in self.common.items()
        }

    def keep(self, change: Mapping[str, NDArray[np.float32]]) -> None:
        """This hospital's change is in the sum: take it over."""
        self.own = {name: value + change[name] for name, value in self.own.items()}

    def apply(self, change: Mapping[str, NDArray[np.float32]]) -> None:
        """The opened change of ``c``."""
        self.common = {name: value + change[name] for name, value in self.common.items()}
