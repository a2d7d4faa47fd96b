"""Find and read text in pictures: the PP-OCRv4 networks, as the wheel of rapidocr-onnxruntime carries them.

Only the model files of that package are used: its code wants a graphics library that a server does not have.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

_PACKAGE = "rapidocr_onnxruntime"
_DETECTOR = "models/ch_PP-OCRv4_det_infer.onnx"
_RECOGNISER = "models/ch_PP-OCRv4_rec_infer.onnx"

#: What the networks were trained with (config.yaml of the package): sides in pixels, thresholds of probability.
_SHORT_SIDE, _LONG_SIDE, _STRIDE = 736, 1600, 32
_PIXEL_THRESHOLD, _BOX_THRESHOLD, _UNCLIP = 0.3, 0.5, 1.6
_READ_HEIGHT, _READ_WIDTHS = 48, (48, 1600)
_SMALLEST = 3


class DetectorMissing(RuntimeError):  # noqa: N818 - a state, with its cure
    """The text detector is not installed."""


@dataclass(frozen=True)
class Box:
    """A rectangle of a picture in pixels: rows ``top`` to ``bottom``, columns ``left`` to ``right``, ends excluded."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    @property
    def slices(self) -> tuple[slice, slice]:
        """For indexing an array of shape (rows, columns, …)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def available() -> bool:
    """Whether the models and their runtime are installed."""
    return _folder() is not None and importlib.util.find_spec("onnxruntime") is not None


def find(picture: NDArray[np.uint8]) -> list[Box]:
    """Where there may be text.

    Parameters
    ----------
    picture : array of uint8, shape (rows, columns, 3)

    Raises
    ------
    DetectorMissing
        The models or their runtime are not installed.
    """
    rows, columns = picture.shape[:2]
    scale = max(1.0, _SHORT_SIDE / min(rows, columns))
    scale = min(scale, _LONG_SIDE / max(rows, columns))
    size = [max(_STRIDE, round(side * scale / _STRIDE) * _STRIDE) for side in (columns, rows)]
    resized = np.asarray(Image.fromarray(picture).resize((size[0], size[1]), Image.Resampling.BILINEAR))
    probability = _run(_DETECTOR, resized)[0, 0]
    labels, _ = ndimage.label(ndimage.binary_dilation(probability > _PIXEL_THRESHOLD, np.ones((2, 2))))
    boxes = []
    for number, (y, x) in enumerate(ndimage.find_objects(labels), start=1):
        height, width = y.stop - y.start, x.stop - x.start
        if min(height, width) < _SMALLEST or probability[y, x][labels[y, x] == number].mean() < _BOX_THRESHOLD:
            continue
        margin = height * width * _UNCLIP / (2 * (height + width))  # the network finds shrunk shapes
        boxes.append(
            Box(
                max(0, int((y.start - margin) * rows / size[1])),
                max(0, int((x.start - margin) * columns / size[0])),
                min(rows, int((y.stop + margin) * rows / size[1]) + 1),
                min(columns, int((x.stop + margin) * columns / size[0]) + 1),
            )
        )
    return boxes


def read(picture: NDArray[np.uint8], box: Box) -> tuple[str, float]:
    """What is written in ``box``, and how sure that is (0 to 1)."""
    cut = picture[box.slices]
    width = int(np.clip(cut.shape[1] * _READ_HEIGHT / max(1, cut.shape[0]), *_READ_WIDTHS))
    resized = np.asarray(Image.fromarray(cut).resize((width, _READ_HEIGHT), Image.Resampling.BILINEAR))
    steps = _run(_RECOGNISER, resized)[0]  # (time, characters), CTC with the blank first
    best = steps.argmax(axis=1)
    kept = (best != 0) & (np.diff(best, prepend=-1) != 0)
    if not kept.any():
        return "", 0.0
    alphabet = _alphabet()
    text = "".join(alphabet[i - 1] for i in best[kept] if i - 1 < len(alphabet))
    return text, float(steps.max(axis=1)[kept].mean())


def _folder() -> Path | None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _session(model: str) -> Any:
    folder = _folder()
    if folder is None or not available():
        raise DetectorMissing("the text detector is not installed: pip install 'fedpacs[pixels]'")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # workers are processes: one core each
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(folder / model), options, providers=["CPUExecutionProvider"])


@cache
def _alphabet() -> list[str]:
    characters: str = _session(_RECOGNISER).get_modelmeta().custom_metadata_map["character"]
    return characters.splitlines()


def _run(model: str, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = _session(model)
    scaled = (picture[..., ::-1].astype(np.float32) / 255 - 0.5) / 0.5  # trained on blue, green, red
    (result,) = session.run(None, {session.get_inputs()[0].name: scaled.transpose(2, 0, 1)[None]})
    out: NDArray[np.float32] = result
    return out
