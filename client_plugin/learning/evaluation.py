"""What a classifier got right: counts, and what follows from them."""

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
        int64 (classes, classes): images of the row's class that were called the column's.
    patients
        Patients that the images come from.
    """

    classes: tuple[str, ...]
    confusion: NDArray[np.int64]
    patients: int

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    @property
    def recalls(self) -> dict[str, float]:
        """Of the classes that occur."""
        totals = self.confusion.sum(axis=1)
        return {name: float(self.confusion[i, i] / totals[i]) for i, name in enumerate(self.classes) if totals[i]}

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
    matrix = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(matrix, (truth, prediction), 1)
    return matrix
