"""Pictures with identifiers burned in, in several fonts, sizes and contrasts, and what a de-identifier leaves of them.

The backgrounds are real: an ultrasound, sections of radiographs, a CT slice as a screen shows it. No angiogram is to be
had with a licence: a radiograph stands for it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import (
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    XRayAngiographicImageStorage,
    generate_uid,
)
from scipy import ndimage

from client_plugin.intake.deidentify import burned_in, text_detector

KINDS = {"US": "US1_UNCR.dcm", "CR": "RG3_UNCR.dcm", "XA": "RG1_UNCR.dcm", "SC": "693_UNCR.dcm"}
FONTS = ("DejaVuSans", "DejaVuSansMono", "DejaVuSerif-Bold", "STIXGeneral", "Aileron")
SIZES = (12, 16, 22, 32)
"""Pixels, in a picture of 512 rows; larger pictures have larger text."""
CONTRASTS = {"white": 1.0, "grey": 0.7, "dim": 0.45, "black on white": 0.0}
_LINES = ("MUSTERMANN, ERIKA", "ID 00471108  *12.03.1957", "Klinikum Nord Kiel")
_PLACES = ((0.02, 0.02), (0.92, 0.03), (0.1, 0.45))  # of the picture's height and width
_VISIBLE = 0.1  # of the range of the picture's values: less contrast to what is below is not seen
_LEFT_SHARE, _LEFT_CHARACTERS = 0.2, 4


@dataclass(frozen=True)
class Line:
    """One line of text in a picture: what it says, and which of its strokes can be seen, shape (rows, columns)."""

    text: str
    strokes: NDArray[np.bool_]

    @property
    def box(self) -> text_detector.Box:
        rows, columns = np.nonzero(self.strokes)
        return text_detector.Box(int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1)


@dataclass(frozen=True)
class Picture:
    """An instance with text in its picture."""

    kind: str
    look: str
    data: bytes
    lines: tuple[Line, ...]


def pictures(count: int) -> Iterator[Picture]:
    """``count`` of all kinds, fonts, sizes and contrasts, spread over them."""
    looks = list(itertools.product(FONTS, SIZES, CONTRASTS))
    for index in range(count):
        kind = list(KINDS)[(index + index // len(KINDS)) % len(KINDS)]  # each kind with each contrast
        yield _picture(kind, *looks[index * 37 % len(looks)])


def hardest(kind: str = "XA", size: int = 16) -> Picture:
    """A name as good as invisible where tissue is behind it: a text detector misses it."""
    return _picture(kind, "Aileron", size, "dim")


def in_colour(picture: Picture) -> Picture:
    """The same grey picture as a screen that works in colour exports it."""
    ds = dcmread(BytesIO(picture.data))
    (pixels,) = burned_in.decode(ds)
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
    ds.PixelData = np.repeat(pixels[..., None], 3, axis=-1).tobytes()
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return Picture(picture.kind, picture.look, buffer.getvalue(), picture.lines)


def left(picture: Picture, output: bytes) -> list[str]:
    """The lines that are still there: by their strokes, or since they can be read."""
    before, after = dcmread(BytesIO(picture.data)), dcmread(BytesIO(output))
    drawn, cleaned = burned_in.decode(before)[0], burned_in.decode(after)[0]
    (shown,) = burned_in.shown(after, cleaned[None])
    found = []
    for line in picture.lines:
        around = ndimage.binary_dilation(line.strokes, iterations=2) & ~line.strokes
        same = cleaned == drawn
        untouched = min(same[line.strokes].mean(), same[around].mean())  # black ink on black is no text
        if untouched > _LEFT_SHARE or _common(line.text, _read(shown, line.box)) >= _LEFT_CHARACTERS:
            found.append(line.text)
    return found


def _picture(kind: str, font: str, size: int, contrast: str) -> Picture:
    ds = _background(kind)
    pixels = burned_in.decode(ds)[0]
    rows, columns = pixels.shape[:2]
    low, high = (float(value) for value in np.percentile(pixels, (0.5, 99.5)))
    if ds.PhotometricInterpretation == "MONOCHROME1":
        low, high = high, low
    drawn = pixels.astype(np.float32)
    lines = []
    for text, (top, left_) in zip(_LINES, _PLACES, strict=True):
        alpha = _strokes(text, font, round(size * rows / 512), (rows, columns), (int(top * rows), int(left_ * columns)))
        if contrast == "black on white":
            y, x = np.nonzero(alpha)
            drawn[max(0, y.min() - 3) : y.max() + 4, max(0, x.min() - 3) : x.max() + 4] = high
        weight = alpha if drawn.ndim == 2 else alpha[..., None]
        below, drawn = drawn, drawn * (1 - weight) + (low + CONTRASTS[contrast] * (high - low)) * weight
        seen = np.abs(drawn - below).reshape(rows, columns, -1).max(axis=-1) > _VISIBLE * abs(high - low)
        if (strokes := seen & (alpha > 0.5)).any():
            lines.append(Line(text, strokes))
    ds.PixelData = drawn.round().astype(pixels.dtype).tobytes()
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return Picture(kind, f"{font} {size} {contrast}", buffer.getvalue(), tuple(lines))


def _background(kind: str) -> Dataset:
    ds = dcmread(get_testdata_file(KINDS[kind], read=False, download=False))
    if ds.Rows > 1024:
        pixels = burned_in.decode(ds)[0][400:1424, 400:1424]
        ds.Rows, ds.Columns = pixels.shape
        ds.PixelData = pixels.tobytes()
    if kind == "XA":
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
        ds.Modality, ds.ImageType = "XA", ["ORIGINAL", "PRIMARY", "SINGLE PLANE"]
    if kind == "SC":
        _as_screenshot(ds)
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[kind])
    return ds


def _as_screenshot(ds: Dataset) -> None:
    (shown,) = burned_in.shown(ds, burned_in.decode(ds))
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    ds.Modality, ds.ConversionType, ds.ImageType = "OT", "WSD", ["DERIVED", "SECONDARY"]
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
    for keyword in ("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth", "SmallestImagePixelValue"):
        if keyword in ds:
            delattr(ds, keyword)
    ds.PixelData = shown[..., 0].tobytes()
    ds["PixelData"].VR = "OB"


def _strokes(text: str, font: str, size: int, shape: tuple[int, int], place: tuple[int, int]) -> NDArray[np.float32]:
    """How much of each pixel is covered by ink, 0 to 1."""
    image = Image.new("L", (shape[1], shape[0]), 0)
    ImageDraw.Draw(image).text((place[1], place[0]), text, fill=255, font=_font(font, size))
    return np.asarray(image, np.float32) / 255


@cache
def _font(name: str, size: int) -> Any:
    if name == "Aileron":  # Pillow's own
        return ImageFont.load_default(size)
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)


def _read(shown: NDArray[np.uint8], box: text_detector.Box) -> str:
    """What can be read where the line was, and a little around it."""
    margin = box.bottom - box.top
    rows, columns = shown.shape[:2]
    around = text_detector.Box(
        max(0, box.top - margin // 2),
        max(0, box.left - margin),
        min(rows, box.bottom + margin // 2),
        min(columns, box.right + margin),
    )
    text, sure = text_detector.read(shown, around)
    return text if sure >= 0.6 else ""


def _common(wanted: str, read: str) -> int:
    """Length of the longest run of letters and digits that both have."""
    a, b = ("".join(c for c in text.upper() if c.isalnum()) for text in (wanted, read))
    longest = 0
    for start in range(len(a)):
        while longest < len(a) - start and a[start : start + longest + 1] in b:
            longest += 1
    return longest
