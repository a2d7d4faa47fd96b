"""A tiny executor: every site adds a vector that depends on its name and the round, and writes down what it got."""

from __future__ import annotations

import json
import time
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

from client_plugin.privacy.session import session_of
from tests.federation.dishonest import META_ATTACK, ON_THE_UPDATE

SHAPES = {"conv.weight": (16, 3, 3, 3), "bias": (16,), "scale": ()}


def update(site: str, step: int) -> dict[str, npt.NDArray[np.float32]]:
    """What ``site`` sends in round ``step``."""
    rng = np.random.default_rng(zlib.crc32(site.encode()) + step)
    return {name: rng.uniform(-1, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def weight(site: str) -> float:
    return float(100 + zlib.crc32(site.encode()) % 900)


class NumpyExecutor(Executor):
    """See above.

    Parameters
    ----------
    declare
        Whether it says at the start which tensors it has.
    misbehave
        Site → what it does instead, by round: ``raw`` (a plain Shareable), ``weights`` (another kind), ``nan``,
        ``inf``, ``shape``, ``forge``, ``error``, ``slow``; anything else is for :mod:`tests.federation.dishonest`.
    pace, slow
        Seconds that a round takes, and that ``slow`` takes more.
    """

    def __init__(
        self,
        declare: bool = True,
        misbehave: dict[str, list[str]] | None = None,
        pace: float = 0.0,
        slow: float = 0.0,
    ) -> None:
        super().__init__()
        self._pace = pace
        self._slow = slow
        self._declare = declare
        self._misbehave = misbehave or {}
        self._got: list[dict[str, object]] = []

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        if event_type == EventType.START_RUN and self._declare:
            session_of(fl_ctx).declare_layout(SHAPES)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        site = fl_ctx.get_identity_name()
        step = int(shareable.get_header(AppConstants.CURRENT_ROUND))
        content = {key for key in shareable if not key.startswith("__")}
        if content:
            mean = from_shareable(shareable).data
            self._got.append({"step": step, "mean": {k: np.asarray(v).ravel().tolist() for k, v in mean.items()}})
            workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
            path = Path(workspace.get_run_dir(fl_ctx.get_job_id())) / "got.json"
            path.write_text(json.dumps(self._got))
        if task_name == "finish":
            return DXO(DataKind.METRICS, data={"loss": 0.25, "patients": 12}).to_shareable()
        tensors = update(site, step)
        time.sleep(self._pace)
        way = dict(enumerate(self._misbehave.get(site, []))).get(step, "")
        match way:
            case "raw":
                return Shareable({"weights": tensors})
            case "slow":
                time.sleep(self._slow)
            case "weights":
                return DXO(DataKind.WEIGHTS, data=tensors).to_shareable()
            case "nan":
                tensors["bias"][0] = np.nan
            case "inf":
                tensors["scale"] = np.array(-np.inf, np.float32)
            case "shape":
                tensors["bias"] = tensors["bias"].reshape(4, 4)
            case "longer":
                time.sleep(1.0)  # so that the others are there before it: the first update decides the length
            case "forge":
                return Shareable({"fedpacs": np.concatenate([t.reshape(-1) for t in tensors.values()]).view(np.uint8)})
            case "error":
                return make_reply(ReturnCode.EXECUTION_EXCEPTION, {"exception": "name of a patient"})
        dxo = DXO(DataKind.WEIGHT_DIFF, data=tensors)
        dxo.meta = {"fedpacs.weight": weight(site), "fedpacs.metrics": {"loss": 1.5, "secret": 42.0}}
        result = dxo.to_shareable()
        if way in (*ON_THE_UPDATE, "replay", "other key"):
            result[META_ATTACK] = way
        return result
