"""Clean Recognizable Visual Features: instances that a face could be rendered from are refused.

Refused and not defaced: a defacing tool needs a whole volume, and is wrong often enough that somebody has to look at
each result; instances come one by one and nobody looks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from client_plugin.archive import reading
from client_plugin.intake.deidentify import burned_in, regions
from client_plugin.intake.deidentify.codes import Reason
from client_plugin.intake.deidentify.regions import Region

#: Sections that a surface is rendered from, and photographs.
_MODALITIES = frozenset({"CT", "MR", "PT", "XC"})
_IODS = ("ct-", "mr-", "enhanced-ct", "enhanced-mr", "legacy-converted", "x-ray-3d", "vl-photographic", "video-photo")

#: Hounsfield units: less is air or lung, more is tissue, a table, a head rest.
_TISSUE = -300.0
#: No head with its rest is larger than this, hardly an adult's trunk smaller. Millimetres.
_LARGEST_HEAD = 280.0
#: With less air than this share around it nothing has a surface in the picture.
_LEAST_AIR = 0.02
_SAMPLES = 128  # pixels along a side are enough
_AXIAL = 0.7  # cosine between the normal and the long axis of the body


def refusal(ds: Dataset, iod: str, faceless: frozenset[str]) -> Reason | None:
    """Why a face could be rendered from ``ds``; None: it cannot.

    Parameters
    ----------
    faceless : frozenset of str
        Modalities that show no face at this site where nothing says what they show.
    """
    said = reading.texts(ds, "RecognizableVisualFeatures")[0]
    if said in ("YES", "NO"):
        return Reason.RECOGNIZABLE_FACE if said == "YES" else None
    modality = reading.texts(ds, "Modality")[0]
    if modality not in _MODALITIES and not iod.startswith(_IODS):
        return None
    region = regions.region(ds)
    if region is Region.HEAD:
        return Reason.RECOGNIZABLE_FACE
    if region is Region.OTHER or modality in faceless:
        return None
    return None if iod == "ct-image" and _is_no_head(ds) else Reason.POSSIBLE_FACE


def _is_no_head(ds: Dataset) -> bool:
    """Whether an axial CT section is certainly none of a head, by its measures."""
    try:
        rows, columns = (float(spacing) for spacing in ds.PixelSpacing)
        x = [float(cosine) for cosine in ds.ImageOrientationPatient]
        if abs(x[0] * x[4] - x[1] * x[3]) < _AXIAL:
            return False
        (section,) = burned_in.decode(ds)
        slope, intercept = float(ds.RescaleSlope), float(ds.RescaleIntercept)
    except Exception:  # noqa: BLE001 - decoders raise anything; what cannot be measured may be a head
        return False
    step = max(1, min(section.shape) // _SAMPLES)
    units = section[::step, ::step].astype(np.float32) * slope + intercept
    return shows_no_head(units, (rows * step, columns * step))


def shows_no_head(units: NDArray[np.float32], spacing: tuple[float, float]) -> bool:
    """Whether what an axial CT section shows is too large for a head, or has no surface in the picture.

    Parameters
    ----------
    units : array, shape (rows, columns)
        Hounsfield units.
    spacing : (float, float)
        Millimetres between rows and between columns.
    """
    tissue = units > _TISSUE
    air, _ = ndimage.label(np.pad(~tissue, 1, constant_values=False))
    air = air[1:-1, 1:-1]
    outside = np.unique(np.concatenate([air[0], air[-1], air[:, 0], air[:, -1]]))
    if np.isin(air, outside[outside > 0]).mean() < _LEAST_AIR:
        return True
    labels, count = ndimage.label(tissue)
    if not count:
        return True
    largest = int(np.bincount(labels.ravel())[1:].argmax()) + 1
    rows, columns = ndimage.find_objects(labels)[largest - 1]
    return max((rows.stop - rows.start) * spacing[0], (columns.stop - columns.start) * spacing[1]) > _LARGEST_HEAD
