"""What a labelled voxel is, whatever kind of object said so."""

from __future__ import annotations

from dataclasses import dataclass


class UnusableStudy(ValueError):  # noqa: N818 - it is the study that is described
    """No volume can be made of the study; the message names what is wrong, never whose study it is."""


@dataclass(frozen=True)
class Segment:
    """A segment of a Segmentation (PS3.3 C.8.20.2) or a region of a structure set: by code and by label."""

    number: int
    label: str
    code: str
    scheme: str
    side: str = ""
