"""Job ``lesion-segmentation``: which pixels are the tumour? From an RT Structure Set of the hospitals' own CT.

Axial slices of a field around the middle, the region ``GTV-1`` (gross tumour volume, as radiotherapy names it), a
small MONAI U-Net (Ronneberger et al., MICCAI 2015), Dice and cross entropy.
"""

from __future__ import annotations

from typing import Any

from jobs.folder import Federation, JobFolder, merged

NAME = "lesion-segmentation"
FEDERATION = Federation(max_weight=1024)
COHORT: dict[str, Any] = {"modality": ["CT"], "labels": "RTSTRUCT"}
LEARNING: dict[str, Any] = {
    "task": {"name": NAME, "labels": ["GTV-1"]},
    "network": {"name": "unet"},
    "training": {"learning_rate": 1e-2, "batch_size": 16},
}


def job(federation: Federation = FEDERATION, learning: dict[str, Any] | None = None) -> JobFolder:
    """The job; ``learning`` overrides its arguments, key by key."""
    return JobFolder(name=NAME, learning=merged(LEARNING, learning or {}), cohort=COHORT, federation=federation)
