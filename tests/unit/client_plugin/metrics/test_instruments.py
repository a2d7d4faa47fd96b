from __future__ import annotations

import pytest

from client_plugin.metrics import instruments as metrics
from observability.instruments import registry


@pytest.mark.parametrize(
    ("patients", "images", "shown"), [(1, 7, (5, 7)), (5, 99, (5, 99)), (6, 101, (10, 110)), (83, 12345, (85, 13000))]
)
def test_cohort_sizes_are_rounded_up(patients: int, images: int, shown: tuple[int, int]) -> None:
    metrics.cohort(patients, images)
    value = registry().get_sample_value
    assert (value("fedpacs_cohort_patients"), value("fedpacs_cohort_images")) == shown
