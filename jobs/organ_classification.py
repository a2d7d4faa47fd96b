"""Job ``organ-classification``: which organ is on this crop? The OrganMNIST recipe on the hospitals' own CT.

2-D crops of ten organs in three planes from CT series with a DICOM SEG (Yang et al., MedMNIST v2, Scientific Data
2023; Bilic et al., LiTS, 2023), a small MONAI DenseNet, federated averaging.
"""

from __future__ import annotations

from typing import Any

from jobs.folder import Federation, JobFolder, merged

NAME = "organ-classification"
# The bound on a site's training images: precision is best when it is not far above the largest site's.
FEDERATION = Federation(max_weight=2048)
COHORT: dict[str, Any] = {"modality": ["CT"], "labels": "SEG"}


def job(federation: Federation = FEDERATION, learning: dict[str, Any] | None = None) -> JobFolder:
    """The job; ``learning`` overrides the defaults of `client_plugin.learning.config.LearningConfig`."""
    return JobFolder(
        name=NAME, learning=merged({"task": {"name": NAME}}, learning or {}), cohort=COHORT, federation=federation
    )
