"""The order of a model's tensors in the one flat vector.

Both ends of a sum are sites, and each knows its own tensors. So neither names nor shapes go over the wire: only a
keyed digest of the layout, by which sites find out whether they train the same network.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_aggregation.errors import ProtocolError, Reason

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Layout:
    """Names and shapes in order of name."""

    entries: tuple[tuple[str, tuple[int, ...]], ...]

    @classmethod
    def of(cls, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Layout:
        """The layout of ``tensors``."""
        return cls.declare({name: tuple(tensor.shape) for name, tensor in tensors.items()})

    @classmethod
    def declare(cls, shapes: Mapping[str, tuple[int, ...]]) -> Layout:
        """The layout of tensors with these shapes."""
        return cls(tuple((name, tuple(int(n) for n in shapes[name])) for name in sorted(shapes)))

    @property
    def size(self) -> int:
        """Number of elements of the flat vector."""
        return sum(math.prod(shape) for _, shape in self.entries)

    def span(self, prefix: str) -> slice:
        """Where in the vector the tensors are whose names begin with ``prefix``; they are neighbours, as names are
        sorted.
        """
        sizes = [(name.startswith(prefix), math.prod(shape)) for name, shape in self.entries]
        before = sum(size for _, size in itertools.takewhile(lambda one: not one[0], sizes))
        return slice(before, before + sum(size for inside, size in sizes if inside))

    @property
    def digest(self) -> bytes:
        """SHA-256 of the canonical JSON of the entries."""
        return hashlib.sha256(json.dumps(self.entries, separators=(",", ":")).encode()).digest()

    def flatten(self, tensors: Mapping[str, npt.NDArray[np.generic]]) -> Vector:
        """All elements in order, float32.

        Raises
        ------
        ProtocolError
            ``layout_differs``: other names or shapes, or a tensor that is not of floating point.
        """
        whole = [name for name, tensor in tensors.items() if not np.issubdtype(tensor.dtype, np.floating)]
        if whole:
            raise ProtocolError(
                Reason.LAYOUT_DIFFERS, f"tensors that are no floating point cannot be averaged: keep {whole[0]!r} local"
            )
        if Layout.of(tensors) != self:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "the update has other tensors than this job's first one")
        vector = np.empty(self.size, np.float32)
        start = 0
        for name, shape in self.entries:
            end = start + math.prod(shape)
            vector[start:end] = tensors[name].reshape(-1)
            start = end
        return vector

    def unflatten(self, vector: Vector) -> dict[str, npt.NDArray[np.float32]]:
        """The inverse of :meth:`flatten`; the tensors are views of ``vector``."""
        if vector.shape != (self.size,):
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{vector.shape} elements for a layout of {self.size}")
        tensors = {}
        start = 0
        for name, shape in self.entries:
            end = start + math.prod(shape)
            tensors[name] = vector[start:end].reshape(shape)
            start = end
        return tensors
