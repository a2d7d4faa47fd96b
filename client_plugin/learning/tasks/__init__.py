"""The tasks that this site can train."""

from client_plugin.learning.config import ClassificationConfig, LearningConfig
from client_plugin.learning.tasks.base import Task
from client_plugin.learning.tasks.classification import OrganClassification
from client_plugin.learning.tasks.segmentation import LesionSegmentation


def open_task(config: LearningConfig) -> Task:
    """The task that a job's arguments name."""
    strength = config.training.augmentation
    if isinstance(config.task, ClassificationConfig):
        return OrganClassification(config.task, strength)
    return LesionSegmentation(config.task, strength)


__all__ = ["open_task"]
