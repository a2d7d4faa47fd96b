"""A made-up body: two boxes of different texture in a cube, for tests that need no real anatomy."""

from __future__ import annotations

import numpy as np

from client_plugin.learning.config import LearningConfig
from client_plugin.learning.segments import Segment
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import TaskData
from client_plugin.learning.training import LocalTrainer
from client_plugin.learning.volumes import Case

LIVER = Segment(1, "liver", "10200004", "SCT")
KIDNEY_RIGHT = Segment(2, "kidney_right", "64033007", "SCT", "right")
KIDNEY_LEFT = Segment(3, "kidney_left", "64033007", "SCT", "left")
OTHER = Segment(4, "gallbladder", "28231008", "SCT")


def case(pseudonym: str = "P1", seed: int = 0, depth: int = 40) -> Case:
    """Liver bright and smooth, kidneys dark and noisy; 3 mm slices, 2 mm pixels."""
    random = np.random.default_rng(seed)
    image = np.full((depth, 64, 64), -100, dtype=np.float32)
    labels = np.zeros(image.shape, dtype=np.uint8)
    labels[2 : depth - 2, 8:32, 8:32] = 1
    labels[2 : depth - 2, 40:58, 6:24] = 2
    labels[2 : depth - 2, 40:58, 36:54] = 3
    labels[2 : depth - 2, 0:4, 0:4] = 4
    image[labels == 1] = 150
    kidneys = (labels == 2) | (labels == 3)
    image[kidneys] = random.normal(0, 60, int(kidneys.sum()))
    return Case(pseudonym, image, labels, (LIVER, KIDNEY_RIGHT, KIDNEY_LEFT, OTHER), (3.0, 2.0, 2.0))


def config(norm: str = "group", **training: object) -> LearningConfig:
    """Two classes and a network that learns them in seconds."""
    few = {"rounds": 3, "steps": 6, "batch_size": 16, "learning_rate": 3e-2}
    return LearningConfig.from_job(
        {
            "task": {"classes": {"liver": "10200004", "kidney": "64033007"}, "image_size": 24},
            "network": {"args": {"init_features": 8, "growth_rate": 8, "block_config": [1, 1], "norm": norm}},
            "training": {**few, **training},
        }
    )


def trainer(norm: str = "group", *, patient: Case | None = None, **training: object) -> LocalTrainer:
    settings = config(norm, **training)
    task = open_task(settings)
    return LocalTrainer(task, task.prepare([patient or case()], frozenset()), settings)


def data(settings: LearningConfig, *cases: Case, held_out: frozenset[str] = frozenset()) -> TaskData:
    return open_task(settings).prepare(cases or [case()], held_out)
