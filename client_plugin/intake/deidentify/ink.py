"""Text drawn into pixels, however little it stands out: its strokes all have one value.

What a detector of text sees of a dim name in front of ribs, an eye hardly sees either, until somebody turns up the
contrast. But an image of tissue is noisy, and a graphics plane is not: the value of the ink is many times as frequent
as its neighbours, and where a part of a line was found, the rest of it has the same.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from client_plugin.intake.deidentify.text_detector import Box

#: Values further apart than this are not counted one by one (32 bits, real numbers).
_MOST_VALUES = 1 << 17
#: Neighbours to each side of a value; how many times as frequent as they ink is; pixels of a letter or two.
_NEIGHBOURS, _TIMES, _FEWEST = 16, 8, 40
#: Share of the picture that letters of one value cover at most: more is what they are drawn on.
_MOST = 0.05
#: Share of the box of a word that its strokes cover at least.
_STROKES = 0.04


def standing_out(frame: NDArray[np.generic], black: int) -> set[int]:
    """Values that are far more frequent than their neighbours; none where values cannot be counted.

    Parameters
    ----------
    frame
        Of shape (rows, columns): grey, or one plane of a picture in colour.
    black
        The value of the background, which is no ink.

    Examples
    --------
    >>> noise = np.random.default_rng(1).integers(0, 4096, (64, 64))
    >>> standing_out(noise, black=0)
    set()
    >>> noise[20:24, 8:56] = 1234
    >>> standing_out(noise, black=0)
    {1234}
    """
    if not _is_countable(frame):
        return set()
    lowest = int(frame.min())
    counts = np.bincount((frame.astype(np.int64) - lowest).ravel())
    usual = ndimage.median_filter(counts, 2 * _NEIGHBOURS + 1, mode="nearest")
    ink = (counts > _TIMES * (usual + 1)) & (counts >= _FEWEST) & (counts <= _MOST * frame.size)
    return {int(value) + lowest for value in np.nonzero(ink)[0]} - {black}


def written_with(frame: NDArray[np.generic], box: Box, black: int) -> set[int]:
    """The one value that is more at home in ``box``, where text was found, than elsewhere; none if there is none.

    Parameters
    ----------
    frame, black
        As in `standing_out`.

    Examples
    --------
    >>> noise = np.random.default_rng(1).integers(0, 256, (64, 64))
    >>> noise[20:24, 8:56] = 99
    >>> written_with(noise, Box(16, 4, 28, 60), black=0)
    {99}
    """
    if not _is_countable(frame) or not box.area:
        return set()
    values, counts = np.unique(frame[box.slices], return_counts=True)
    counts[values == black] = 0
    most = counts.argmax()
    if counts[most] < _STROKES * box.area or (frame == values[most]).mean() > _MOST:
        return set()
    return {int(values[most])}


def picture(frame: NDArray[np.generic], values: Collection[int]) -> NDArray[np.uint8]:
    """What has one of ``values``: white on black, of shape (rows, columns, 3)."""
    ink = np.isin(frame, [*values]) * np.uint8(255)
    return np.repeat(ink[..., None], 3, axis=-1)


def _is_countable(frame: NDArray[np.generic]) -> bool:
    if frame.ndim != 2 or frame.dtype.kind not in "iu" or not frame.size:
        return False
    return int(frame.max()) - int(frame.min()) < _MOST_VALUES
