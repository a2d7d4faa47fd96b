from __future__ import annotations

import numpy as np
import pytest

from client_plugin.learning.evaluation import Evaluation, confusion_matrix


def test_balanced_accuracy_is_the_mean_recall_of_the_classes_that_occur() -> None:
    truth, said = np.array([0] * 90 + [1] * 10), np.array([0] * 90 + [0] * 8 + [1] * 2)
    judged = Evaluation(("a", "b", "never"), confusion_matrix(truth, said, 3), images=100, patients=1)
    assert judged.recalls == pytest.approx({"a": 1.0, "b": 0.2})
    assert judged.balanced_accuracy == pytest.approx(0.6)


def test_nothing_held_out_scores_0() -> None:
    nothing = np.array([], dtype=np.int64)
    assert Evaluation(("a", "b"), confusion_matrix(nothing, nothing, 2), 0, 0).balanced_accuracy == 0


def test_dice_counts_what_either_says() -> None:
    truth, said = np.array([0, 0, 0, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 0])
    judged = Evaluation(("background", "lesion"), confusion_matrix(truth, said, 2), images=1, patients=1)
    assert judged.dice == pytest.approx({"background": 2 / 3, "lesion": 2 / 3})
