"""The encrypted sum as NVFlare's ``ModelAggregator``, in the loop of NVFlare's own ``FedAvg``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.workflows.fedavg import FedAvg

from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout
from secure_aggregation.rounds import TRAIN, round_message
from server_config.aggregator import PAYLOAD, EncryptedSums
from tests.unit.secure_aggregation.consortium import Consortium, settings

ROUNDS = 3
SHAPES = {"w": (4, 3), "b": (4,)}


def tensors(site: int, step: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(10 * step + site)
    return {name: random.uniform(-1, 1, shape).astype(np.float32) for name, shape in SHAPES.items()}


def ready(encryption: str) -> tuple[Consortium, EncryptedSums]:
    agreed = settings(encryption, max_weight=8.0)
    consortium = Consortium(3, agreed, Layout.declare(SHAPES)).ceremony()
    return consortium, EncryptedSums(
        consortium.server.roster(), agreed.parameters(3), consortium.server.layout, rounds=ROUNDS
    )


class InOneProcess(FedAvg):
    """NVFlare's FedAvg whose tasks go to sites in this process: only its sending is replaced."""

    def __init__(self, consortium: Consortium, **kwargs: Any) -> None:
        super().__init__(num_rounds=ROUNDS, **kwargs)
        self.consortium = consortium
        self.fl_ctx = FLContext()
        self.opened: list[dict[str, np.ndarray]] = []

    def sample_clients(self, num_clients: int | None = None) -> list[str]:
        return list(self.consortium.sites)

    def send_model(
        self, task_name: str, targets: list[str], data: FLModel, callback: Callable[[FLModel], object], **_: Any
    ) -> None:
        for number, site in enumerate(targets):
            at = self.consortium.sites[site]
            opened = at.begin(data.params[PAYLOAD]).opened
            if opened and number == 0:
                self.opened.append(opened.tensors)
            sealed = at.seal(tensors(number, data.current_round), 1.0 + number)
            callback(FLModel(params={PAYLOAD: sealed}, meta={"client_name": site}))

    def get_num_standing_tasks(self) -> int:
        return 0

    def event(self, event_type: str) -> None: ...

    def fire_event_with_data(self, *args: Any, **kwargs: Any) -> None: ...

    def save_model(self, model: FLModel) -> None:
        self.saved = model


def test_nvflares_fedavg_adds_what_it_cannot_read() -> None:
    consortium, sums = ready("he")
    first = round_message(consortium.server.roster(), 0, ROUNDS, TRAIN, None)
    fedavg = InOneProcess(consortium, aggregator=sums, model={PAYLOAD: first})
    fedavg.run()
    last = {site: at.begin(fedavg.saved.params[PAYLOAD]) for site, at in consortium.sites.items()}
    assert {one.purpose for one in last.values()} == {"finish"}
    means = [*fedavg.opened, next(iter(last.values())).opened.tensors]
    assert len(means) == ROUNDS
    for step, mean in enumerate(means):
        for name in SHAPES:
            exact = np.average([tensors(site, step)[name] for site in range(3)], axis=0, weights=[1, 2, 3])
            np.testing.assert_allclose(mean[name], exact, atol=1e-6)
    assert fedavg.saved.meta["nr_aggregated"] == 3


def test_masks_need_more_than_nvflares_loop_can_carry() -> None:
    consortium, sums = ready("he+masks")
    first = round_message(consortium.server.roster(), 0, ROUNDS, TRAIN, None)
    with pytest.raises(ProtocolError) as raised:
        InOneProcess(consortium, aggregator=sums, model={PAYLOAD: first}).run()
    assert raised.value.reason is Reason.MISSING_SHARES


@pytest.mark.parametrize(
    "params", [{PAYLOAD: np.zeros(3, np.uint8)}, {"w": np.zeros(3)}, {PAYLOAD: np.zeros(3, np.uint8), "w": np.zeros(3)}]
)
def test_anything_but_a_sealed_update_is_refused(params: dict[str, np.ndarray]) -> None:
    _, sums = ready("he")
    sums.reset_stats()
    with pytest.raises(ProtocolError):
        sums.accept_model(FLModel(params=params, meta={"client_name": "hospital-aa"}))
    assert sums.contributors == []
