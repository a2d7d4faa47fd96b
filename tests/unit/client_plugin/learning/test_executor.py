"""What of the executor needs no running federation; the rest is in tests/federation/test_main_job.py."""

import numpy as np
import pytest
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.app_constant import AppConstants

from client_plugin.learning.config import LearningConfigError
from client_plugin.learning.executor import FederatedTraining, digest

COHORT = {"modality": ["CT"], "labels": "SEG"}


def opened(number: int, value: float) -> Shareable:
    """The mean update of the round before ``number``, as the hospital's filter hands it on."""
    data = DXO(DataKind.WEIGHT_DIFF, data={"w": np.full(3, value, np.float32)}).to_shareable()
    data.set_header(AppConstants.CURRENT_ROUND, number)
    return data


def test_a_mean_update_is_applied_once_however_often_it_comes() -> None:
    executor = FederatedTraining({}, COHORT)
    executor._weights = {"w": np.zeros(3, np.float32)}
    for number, value in ((1, 1.0), (1, 1.0), (2, 0.5), (2, 0.5), (1, 1.0)):
        executor._apply(opened(number, value), number)
    assert executor._weights["w"].tolist() == [1.5, 1.5, 1.5]


def test_the_first_round_starts_from_the_seed() -> None:
    executor = FederatedTraining({}, COHORT)
    executor._weights = {"w": np.zeros(3, np.float32)}
    first = Shareable()
    first.set_header(AppConstants.CURRENT_ROUND, 0)
    executor._apply(first, 0)
    assert executor._weights["w"].tolist() == [0, 0, 0]


def test_without_the_gates_yes_nothing_is_trained() -> None:
    reply = FederatedTraining({}, COHORT).execute("train", Shareable(), FLContext(), Signal())
    assert reply.get_return_code() == ReturnCode.EXECUTION_EXCEPTION


def test_arguments_of_a_job_are_checked() -> None:
    with pytest.raises(LearningConfigError, match="code"):
        FederatedTraining({"code": "import os"}, COHORT)


def test_the_digest_is_of_names_and_values() -> None:
    one = {"a": np.arange(4, dtype=np.float32)}
    assert digest(one) == digest({"a": one["a"].copy()})
    assert digest(one) != digest({"b": one["a"]})
    assert digest(one) != digest({"a": one["a"] + 1e-6})
