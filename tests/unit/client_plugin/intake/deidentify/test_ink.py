"""What is drawn into a picture is told from the picture."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from benchmarks.planting.pictures import hardest, in_colour, left
from client_plugin.intake.deidentify import Deidentifier, burned_in, ink
from client_plugin.intake.deidentify.text_detector import Box

from .conftest import read


def test_a_name_that_the_detector_does_not_see_is_blanked(deidentifier: Deidentifier) -> None:
    picture = hardest()
    before = read(picture.data)
    frame = burned_in.decode(before)
    seen = burned_in.text_like(burned_in.shown(before, frame)[0])
    name = picture.lines[0].box
    assert not any(box.top < name.bottom and box.bottom > name.top for box in seen)
    assert left(picture, deidentifier.apply(before).encoded()) == []


def test_what_is_dim_in_a_picture_in_colour_is_blanked_too(deidentifier: Deidentifier) -> None:
    picture = in_colour(hardest("SC", 32))
    assert left(picture, picture.data) == [line.text for line in picture.lines]
    assert left(picture, deidentifier.apply(read(picture.data)).encoded()) == []


@pytest.mark.parametrize("file", ["RG1_UNCR.dcm", "RG3_UNCR.dcm", "CT_small.dcm", "MR_small.dcm", "693_UNCR.dcm"])
def test_nothing_is_read_where_nothing_is_drawn(file: str) -> None:
    frame = burned_in.decode(dcmread(get_testdata_file(file)))[0][:1024, :1024]
    values = ink.standing_out(frame, int(frame.min()))
    assert not values or burned_in.readable(ink.picture(frame, values)) == []


@pytest.mark.parametrize("dtype", ["float32", "uint32", "uint8"])
def test_values_that_cannot_be_counted_are_left_alone(dtype: str) -> None:
    frame = np.random.default_rng(5).integers(0, 256, (64, 64)).astype(dtype)
    if dtype == "uint32":
        frame *= 1 << 20
    frame[8:12, 8:56] = frame.max()
    found = ink.standing_out(frame, 0) | ink.written_with(frame, Box(6, 4, 14, 60), 0)
    assert found == ({int(frame.max())} if dtype == "uint8" else set())
