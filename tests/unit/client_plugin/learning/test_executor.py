"""What of the executor needs no running federation; the rest is in tests/federation/test_main_job.py and
test_algorithms.py.
"""

import numpy as np
import pytest
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal

from client_plugin.learning.config import LearningConfigError
from client_plugin.learning.executor import FederatedTraining, digest

COHORT = {"modality": ["CT"], "labels": "SEG"}


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
