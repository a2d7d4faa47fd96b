"""Clean Pixel Data: text that is part of the picture is found and blanked.

What a device declares to be ultrasound is kept and everything outside of it is blanked, as deid's recipe does; then
what the detector finds in the picture, and in what is drawn over it, is blanked, and the detector looks again.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_color_lut, pixel_array
from pydicom.uid import ExplicitVRLittleEndian

from client_plugin.intake.deidentify import ink, text_detector
from client_plugin.intake.deidentify.codes import Quarantine, Reason
from client_plugin.intake.deidentify.text_detector import Box

#: Regions that leave less of the picture than this are taken for an error of the device.
_SMALLEST_SHARE = 0.1
#: How sure the reader must be of how many characters before a finding outside risky classes counts as text.
_SURE, _CHARACTERS = 0.7, 2
#: How often is looked again; in heights of a line: how far apart its words are, how far it may go on unseen.
_ROUNDS, _GAP, _ENDS = 3, 6, 4
#: Share of the picture's height that a line of text has at most, unless it can be read.
_TALLEST = 0.1
#: What is drawn in one colour has one value in each of its planes; this one has most of what is seen.
_GREEN = 1
#: Text that is still read after blanking.
_LEFT_SURE, _LEFT_CHARACTERS = 0.8, 3


def clean(dataset: Dataset, regions: list[Box], *, everything: bool) -> list[Box]:
    """Blank the text in the pixel data of ``dataset``, which become native if they are compressed.

    Parameters
    ----------
    regions : list of Box
        What alone is picture (``ultrasound_regions``); empty: all of it.
    everything : bool
        Blank all that looks like text, not only what can be read: for classes that carry text as a rule.

    Returns
    -------
    list of Box
        What was blanked besides the outside of the regions.

    Raises
    ------
    Quarantine
        The pixels cannot be decoded, the detector is missing, or text is left.
    """
    if not text_detector.available():
        raise Quarantine(Reason.BURNED_IN_TEXT)
    try:
        pixels = decode(dataset)
    except (RuntimeError, ValueError, AttributeError, KeyError, TypeError, NotImplementedError, EOFError):
        raise Quarantine(Reason.PIXELS_NOT_DECODABLE) from None
    outside = _outside(pixels.shape[1:3], regions)
    black = _black(dataset, pixels)
    pixels[:, outside] = black
    blanked: set[Box] = set()
    inks: set[int] = set()
    for _ in range(_ROUNDS):  # without the brightest text the next one is seen
        found = {
            box
            for frame in shown(dataset, pixels)
            for box in (lines(text_like(frame)) if everything else lines(readable(frame), _ENDS))
        }
        for frame in _chosen(pixels if pixels.ndim == 3 else pixels[..., _GREEN]):
            found.update(_drawn(frame, ink.standing_out(frame, black)))
            inks.update(*(ink.written_with(frame, box, black) for box in found))
            found.update(_drawn(frame, inks))
        found -= blanked
        if not found:
            break
        for box in found:
            pixels[:, *box.slices] = black
        blanked |= found
    else:
        for frame in shown(dataset, pixels):
            if any(_is_text(frame, box, _LEFT_SURE, _LEFT_CHARACTERS) for box in text_detector.find(frame)):
                raise Quarantine(Reason.BURNED_IN_TEXT)
    if blanked or outside.any():
        _encode(dataset, pixels)
    return sorted(blanked, key=lambda box: (box.top, box.left))


def lines(boxes: list[Box], ends: int = 0) -> list[Box]:
    """``boxes``, and what lies between two of one line: the word there was only too faint to be found.

    Parameters
    ----------
    ends : int
        By how many heights each is made longer: in front of anatomy a name may fade in the middle of a word.

    Examples
    --------
    >>> lines([Box(0, 0, 10, 40), Box(1, 60, 11, 90)])[-1]
    Box(top=0, left=0, bottom=11, right=90)
    """
    joined = []
    for box in boxes:
        more = ends * (box.bottom - box.top)
        joined.append(Box(box.top, max(0, box.left - more), box.bottom, box.right + more))
    for a, b in itertools.permutations(boxes, 2):
        height = min(a.bottom - a.top, b.bottom - b.top)
        overlap = min(a.bottom, b.bottom) - max(a.top, b.top)
        if overlap > height / 2 and 0 < b.left - a.right < _GAP * height:
            joined.append(Box(min(a.top, b.top), a.left, max(a.bottom, b.bottom), b.right))
    return joined


def ultrasound_regions(ds: Dataset) -> list[Box]:
    """Where the picture is, by the Sequence of Ultrasound Regions (0018,6011); empty where it does not say."""
    boxes = []
    for item in ds.get("SequenceOfUltrasoundRegions") or []:
        try:
            left, top = int(item.RegionLocationMinX0), int(item.RegionLocationMinY0)
            right, bottom = int(item.RegionLocationMaxX1), int(item.RegionLocationMaxY1)
        except (AttributeError, TypeError, ValueError):
            continue
        if 0 <= left < right and 0 <= top < bottom:
            boxes.append(Box(top, left, bottom + 1, right + 1))
    return boxes


def text_like(frame: NDArray[np.uint8]) -> list[Box]:
    """Where there may be text in a picture of shape (rows, columns, 3), read or not; flow and tissue are taller."""
    tallest = _TALLEST * frame.shape[0]
    boxes = text_detector.find(frame)
    return [box for box in boxes if box.bottom - box.top <= tallest or _is_text(frame, box, _SURE, _CHARACTERS)]


def readable(frame: NDArray[np.uint8]) -> list[Box]:
    """Where text can be read in a picture of shape (rows, columns, 3); anatomy that only looks like it is left out."""
    return [box for box in text_detector.find(frame) if _is_text(frame, box, _SURE, _CHARACTERS)]


def _drawn(frame: NDArray[np.generic], inks: set[int]) -> list[Box]:
    """Text that is drawn with one of these values, which may be as good as invisible."""
    return lines(readable(ink.picture(frame, inks))) if inks else []


def _is_text(frame: NDArray[np.uint8], box: Box, sure: float, characters: int) -> bool:
    text, probability = text_detector.read(frame, box)
    return probability >= sure and sum(c.isalnum() for c in text) >= characters


def _outside(shape: tuple[int, int], regions: list[Box]) -> NDArray[np.bool_]:
    outside = np.zeros(shape, bool)
    if regions:
        outside[:] = True
        for box in regions:
            outside[box.slices] = False
        if 1 - outside.mean() < _SMALLEST_SHARE:
            outside[:] = False
    return outside


def decode(dataset: Dataset) -> NDArray[np.generic]:
    """Pixels of shape (frames, rows, columns) or (frames, rows, columns, 3); colour as RGB."""
    pixels = pixel_array(dataset).copy()
    of_one_frame = 2 if int(dataset.SamplesPerPixel) == 1 else 3
    return pixels[None] if pixels.ndim == of_one_frame else pixels


def shown(dataset: Dataset, pixels: NDArray[np.generic]) -> list[NDArray[np.uint8]]:
    """Some frames as they are seen: 8 bits, three colours. The brightest and the darkest of all show text of any."""
    frames = _chosen(pixels)
    if len(pixels) > 1:
        frames += [pixels.max(axis=0), pixels.min(axis=0)]
    shown: list[NDArray[np.uint8]] = []
    for frame in frames:
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            shown.append(_eight_bits(apply_color_lut(frame, dataset)))
        elif frame.ndim == 3:
            shown.append(_eight_bits(frame))
        else:
            grey = _eight_bits(frame)
            shown.append(np.stack([255 - grey if _is_inverted(dataset) else grey] * 3, axis=-1))
    return shown


def _chosen(pixels: NDArray[np.generic]) -> list[NDArray[np.generic]]:
    count = len(pixels)
    return [pixels[i] for i in sorted({0, count // 2, count - 1})]


def _eight_bits(frame: NDArray[np.generic]) -> NDArray[np.uint8]:
    if frame.dtype == np.uint8 and frame.ndim == 3:
        return frame.astype(np.uint8)
    values = frame.astype(np.float32)
    low, high = (float(v) for v in np.percentile(values, (0, 99.9)))
    return np.clip((values - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)


def _is_inverted(dataset: Dataset) -> bool:
    return str(dataset.PhotometricInterpretation) == "MONOCHROME1"


def _black(dataset: Dataset, pixels: NDArray[np.generic]) -> int:
    """The value that is shown darkest."""
    if _is_inverted(dataset):
        return int(pixels.max())
    if dataset.PhotometricInterpretation == "MONOCHROME2":
        return int(pixels.min())
    return 0


def _encode(dataset: Dataset, pixels: NDArray[np.generic]) -> None:
    """Put the pixels back, native and colour by pixel."""
    meta = dataset.file_meta
    if meta.TransferSyntaxUID.is_compressed and not meta.TransferSyntaxUID.is_deflated:
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
    if pixels.ndim == 4:
        dataset.PhotometricInterpretation = "RGB"
        dataset.PlanarConfiguration = 0
    if dataset.BitsAllocated == 1:
        data = np.packbits(pixels.astype(np.uint8).ravel(), bitorder="little").tobytes()
    else:
        little = meta.TransferSyntaxUID.is_little_endian
        data = pixels.astype(pixels.dtype.newbyteorder("little" if little else "big")).tobytes()
    keyword = next(k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset)
    setattr(dataset, keyword, data + bytes(len(data) % 2))
    dataset[keyword].is_undefined_length = False
