"""What a model got right: counts, and what follows from them. One count is an image, or a pixel in segmentation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Evaluation:
    """A model on one hospital's held-out images.

    Parameters
    ----------
    classes
        Names, in the order of the matrix.
    confusion
        int64 (classes, classes): images (or pixels) of the row's class that were called the column's.
    images, patients
        How many images were judged, and how many patients they come from.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    images: int
    patients: int

    @property
    def recalls(self) -> dict[str, float]:
        """Of the classes that occur."""
        totals = self.confusion.sum(axis=1)
        return {name: float(self.confusion[i, i] / totals[i]) for i, name in enumerate(self.classes) if totals[i]}

    @property
    def dice(self) -> dict[str, float]:
        """Dice coefficient of the classes that occur: twice what both agree on, by what either says."""
        truth, said = self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return {
            name: float(2 * self.confusion[i, i] / (truth[i] + said[i]))
            for i, name in enumerate(self.classes)
            if truth[i]
        }

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that occur; 0 without images."""
        return float(np.mean(list(self.recalls.values()))) if self.recalls else 0.0


def confusion_matrix(truth: NDArray[np.int64], prediction: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Count pairs.

    Examples
    --------
    >>> confusion_matrix(np.array([0, 0, 1]), np.array([0, 1, 1]), 2).tolist()
    [[1, 1], [0, 1]]
    """
    pairs = np.bincount(truth.ravel() * classes + prediction.ravel(), minlength=classes * classes)
    matrix: NDArray[np.int64] = pairs.reshape(classes, classes).astype(np.int64)
    return matrix
