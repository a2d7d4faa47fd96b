"""What the consortium's server had: a search of everything it wrote for what it must not have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

WINDOW = 64  # bytes: 16 float32 values in a row do not occur by chance
WINDOWS_PER_TENSOR = 4


@dataclass(frozen=True)
class Finding:
    """A needle that was found."""

    needle: str
    path: Path


def needles(weights: Mapping[str, npt.NDArray[np.float32]]) -> dict[str, bytes]:
    """Byte strings that occur wherever these weights are kept as float32 (raw, npy, safetensors, torch, fobs)."""
    found: dict[str, bytes] = {}
    for name, value in weights.items():
        raw = np.ascontiguousarray(value, dtype="<f4").tobytes()
        for number in range(WINDOWS_PER_TENSOR):
            start = (len(raw) - WINDOW) * number // max(1, WINDOWS_PER_TENSOR - 1) // 4 * 4
            window = raw[start : start + WINDOW]
            if len(window) == WINDOW and len(set(window)) > WINDOW // 4:  # zeros and ones are everywhere
                found[f"{name}@{start}"] = window
    return found


def search(folders: Iterable[Path], wanted: Mapping[str, bytes]) -> tuple[int, list[Finding]]:
    """Look for every needle in every file below ``folders``.

    Returns
    -------
    files, findings
        How many files were read, and what was found in them.
    """
    files = 0
    findings: list[Finding] = []
    for path in _files(folders):
        data = path.read_bytes()
        files += 1
        findings += [Finding(name, path) for name, needle in wanted.items() if needle in data]
    return files, findings


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield path
