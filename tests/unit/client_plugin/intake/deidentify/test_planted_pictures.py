"""Identifiers burned into real pictures: none is left, neither its strokes nor what can be read of it."""

import numpy as np
import pytest

from benchmarks.planting.pictures import KINDS, Picture, left, pictures
from client_plugin.intake.deidentify import Deidentifier

from .conftest import read

PICTURES = {picture.kind: picture for picture in pictures(len(KINDS))}


@pytest.fixture(params=list(KINDS))
def picture(request: pytest.FixtureRequest) -> Picture:
    return PICTURES[request.param]


def test_the_search_finds_what_is_there(picture: Picture) -> None:
    assert left(picture, picture.data) == [line.text for line in picture.lines]


def test_nothing_burned_in_is_left_and_the_middle_stays(deidentifier: Deidentifier, picture: Picture) -> None:
    before = read(picture.data)
    output = deidentifier.apply(before).encoded()
    assert left(picture, output) == []
    rows, columns = before.Rows, before.Columns
    middle = np.s_[rows * 2 // 5 : rows * 4 // 5, columns // 4 : columns * 3 // 4]
    assert np.mean(read(output).pixel_array[middle] == before.pixel_array[middle]) > 0.97
