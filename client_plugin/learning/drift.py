"""What holds a hospital's model near the federation's while it trains alone: two terms on the gradients.

- FedProx (Li et al., *Federated Optimization in Heterogeneous Networks*, MLSys 2020): the loss has
  ``mu / 2 * |w - w_round|^2`` added to it, so its gradient ``mu * (w - w_round)``.
- SCAFFOLD (Karimireddy et al., ICML 2020): every step is corrected by ``c - c_i``, the difference between the mean
  gradient of all hospitals and this one's. Where these come from: `control_variates`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray


class Drift:
    """The two terms in one round of local training; without them it does nothing.

    Parameters
    ----------
    network
        With the weights that the round starts from.
    proximal_mu
        Of FedProx; 0 is none.
    correction
        By name of parameter, ``c - c_i`` of SCAFFOLD; empty is none.
    """

    def __init__(
        self, network: torch.nn.Module, proximal_mu: float, correction: Mapping[str, NDArray[np.float32]]
    ) -> None:
        self._mu = proximal_mu
        parameters = dict(network.named_parameters())
        self._anchored = [(one, one.detach().clone()) for one in parameters.values()] if proximal_mu else []
        self._corrected = [
            (parameters[name], torch.from_numpy(values).to(parameters[name].device))
            for name, values in correction.items()
        ]

    def before_clipping(self) -> None:
        """The proximal term is part of the loss, so its gradient is clipped with the others."""
        for parameter, anchor in self._anchored:
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - anchor, alpha=self._mu)

    def after_clipping(self) -> None:
        """The correction is no part of the gradient: clipped with it, the hospitals' corrections would not sum to 0."""
        for parameter, values in self._corrected:
            if parameter.grad is not None:
                parameter.grad.add_(values)
