"""The optimiser that FedOpt puts at the server, run where the sum is opened: at every site, with the same result.

Reddi et al., *Adaptive Federated Optimization*, ICLR 2021, algorithm 2; FedAvgM after Hsu et al., 2019. The mean of
the updates is the pseudo-gradient. All arithmetic is float32 and element by element, so sites that opened the same
sums hold the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Vector

STATE_VECTORS = {"fedavg": 0, "fedavgm": 1, "fedadam": 2, "fedyogi": 2}
"""Vectors of state that each needs."""


@dataclass(frozen=True)
class ServerOptimizer:
    """What turns the mean update into the step of the model.

    Attributes
    ----------
    name
        ``fedavg`` (the mean is the step), ``fedavgm``, ``fedadam`` or ``fedyogi``.
    learning_rate
        The server's.
    beta1, beta2
        Decay of the first and second moment.
    tau
        Degree of adaptivity: added to the root of the second moment.
    """

    name: str = "fedavg"
    learning_rate: float = 1.0
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    @classmethod
    def from_job(cls, arguments: Mapping[str, object] | None) -> ServerOptimizer:
        """From a job's arguments; None is plain averaging.

        Raises
        ------
        ProtocolError
            ``unsupported``: an unknown name or key, or a value out of range.
        """
        try:
            one = cls(**(arguments or {}))  # type: ignore[arg-type]
            usable = (
                one.name in STATE_VECTORS
                and 0 < one.learning_rate < float("inf")
                and 0 <= one.beta1 < 1
                and 0 <= one.beta2 < 1
                and one.tau > 0
            )
        except TypeError:
            usable = False
        if not usable:
            known = ", ".join(STATE_VECTORS)
            raise ProtocolError(
                Reason.UNSUPPORTED,
                f"server_optimizer: name ({known}), learning_rate > 0, beta1, beta2 in [0, 1), tau > 0",
            )
        return one

    def fields(self) -> dict[str, str]:
        """For a header: floats as their exact hexadecimal."""
        numbers = (
            ("learning_rate", self.learning_rate),
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("tau", self.tau),
        )
        return {"name": self.name, **{key: float(value).hex() for key, value in numbers}}

    def start(self, size: int) -> tuple[Vector, ...]:
        """State before the first step."""
        fill = np.float32(self.tau**2)  # the second moment starts at tau squared (algorithm 2, line 1)
        moments = (np.zeros(size, np.float32), np.full(size, fill))
        return moments[: STATE_VECTORS[self.name]]

    def step(self, state: tuple[Vector, ...], mean: Vector) -> tuple[Vector, tuple[Vector, ...]]:
        """One step: what to add to the model, and the state after it."""
        rate, beta1, beta2 = np.float32(self.learning_rate), np.float32(self.beta1), np.float32(self.beta2)
        if self.name == "fedavg":
            return (mean if self.learning_rate == 1.0 else rate * mean), ()
        if self.name == "fedavgm":
            momentum = beta1 * state[0] + mean
            return rate * momentum, (momentum,)
        first = beta1 * state[0] + (1 - beta1) * mean
        square = mean * mean
        if self.name == "fedadam":
            second = beta2 * state[1] + (1 - beta2) * square
        else:
            second = state[1] - (1 - beta2) * square * np.sign(state[1] - square)
        move = rate * first / (np.sqrt(second) + np.float32(self.tau))
        return move.astype(np.float32), (first.astype(np.float32), second.astype(np.float32))
