from __future__ import annotations

import pytest

from client_plugin.learning.config import LearningConfig, LearningConfigError


def test_the_defaults_are_the_organ_job() -> None:
    config = LearningConfig.from_job({})
    assert config.task.name == "organ-classification"
    assert len(config.task.classes) == 10


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"task": {"name": "other"}}, "task"),
        ({"byoc": True}, "byoc"),
        ({"training": {"optimizer": "os.system"}}, "training.optimizer"),
        ({"training": {"learning_rate": float("nan")}}, "training.learning_rate"),
        ({"network": {"name": "os.system"}}, "network.name"),
        ({"training": {"algorithm": "fedprox"}}, "proximal_mu"),
        ({"training": {"proximal_mu": 0.1}}, "proximal_mu"),
        ({"training": {"algorithm": "scaffold"}}, "needs the optimizer sgd"),
        ({"task": {"planes": ["oblique"]}}, "task.planes.0"),
        ({"task": {"classes": {"liver": "1", "again": "1"}}}, "task.classes"),
        ({"task": {"classes": {"$exit()": "1", "spleen": "2"}}}, "task.classes"),
        ({"task": {"classes": {"@network": "1", "spleen": "2"}}}, "task.classes"),
        ({"task": {"name": "lesion-segmentation", "planes": ["axial"]}}, "task.planes"),
        ({"task": {"classes": {"liver": "$import os", "spleen": "2"}}}, "task.classes"),
    ],
)
def test_what_is_not_foreseen_is_refused_and_named(arguments: dict[str, object], named: str) -> None:
    with pytest.raises(LearningConfigError, match=named.replace(".", r"\.")):
        LearningConfig.from_job(arguments)
