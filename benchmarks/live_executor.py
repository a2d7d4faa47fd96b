"""Trains DenseNet121 for a few steps on made-up images, for ``benchmarks.aggregation_live``: the same work under both
ways of averaging.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DenseNet121
from nvflare.apis.dxo import DXO, DataKind, MetaKey, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from client_plugin.privacy.session import session_of


class DenseNetExecutor(Executor):
    """See the module.

    Parameters
    ----------
    encrypted
        Whether what comes is the mean of differences (ours), or the global weights (NVFlare's plain FedAvg).
    steps
        Training steps a round.
    """

    def __init__(self, encrypted: bool, steps: int) -> None:
        super().__init__()
        torch.set_num_threads(1)
        torch.manual_seed(0)
        self._encrypted = encrypted
        self._steps = steps
        self._network = DenseNet121(spatial_dims=2, in_channels=1, out_channels=10)
        self._starts: list[float] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN and self._encrypted:
            session_of(fl_ctx).declare_layout({name: tuple(t.shape) for name, t in self._tensors().items()})

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        self._starts.append(time.time())
        workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        (Path(workspace.get_run_dir(fl_ctx.get_job_id())) / "starts.json").write_text(json.dumps(self._starts))
        self._take(shareable)
        if task_name == "finish":
            return Shareable()
        before = {name: tensor.numpy().copy() for name, tensor in self._tensors().items()}
        self._train()
        after = {name: tensor.numpy() for name, tensor in self._tensors().items()}
        if self._encrypted:
            dxo = DXO(DataKind.WEIGHT_DIFF, data={name: after[name] - before[name] for name in after})
            dxo.meta = {"fedpacs.weight": 1.0}
        else:
            dxo = DXO(DataKind.WEIGHTS, data=after, meta={MetaKey.NUM_STEPS_CURRENT_ROUND: 1})
        return dxo.to_shareable()

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {n: t.detach() for n, t in self._network.state_dict().items() if t.dtype.is_floating_point}

    def _take(self, shareable: Shareable) -> None:
        if not any(not key.startswith("__") for key in shareable):
            return
        for name, values in from_shareable(shareable).data.items():
            tensor = self._tensors()[name]
            tensor.copy_(torch.from_numpy(np.asarray(values)) + (tensor if self._encrypted else 0))

    def _train(self) -> None:
        optimiser = torch.optim.SGD(self._network.parameters(), 1e-3)
        self._network.train()
        for step in range(self._steps):
            generator = torch.Generator().manual_seed(step)
            images = torch.rand((8, 1, 64, 64), generator=generator)
            loss = torch.nn.functional.cross_entropy(self._network(images), torch.arange(8))
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
