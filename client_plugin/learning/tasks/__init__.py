"""The tasks that this site can train."""

from client_plugin.learning.config import LearningConfig
from client_plugin.learning.tasks.base import Task
from client_plugin.learning.tasks.classification import OrganClassification


def open_task(config: LearningConfig) -> Task:
    """The task that a job's arguments name."""
    return OrganClassification(config.task, strength=config.training.augmentation)


__all__ = ["open_task"]
