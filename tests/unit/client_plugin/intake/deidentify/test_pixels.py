import struct

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from client_plugin.intake.deidentify.pixels import trimmed

NAME = b"Mustermann^Erika"


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def jpeg(*segments: bytes, behind: bytes = b"") -> bytes:
    scan = segment(0xDA, b"\1\1\0\0\x3f\0") + b"\x12\xff\x00\x34"
    return b"\xff\xd8" + b"".join(segments) + scan + b"\xff\xd9" + behind


def image(**changes: object) -> Dataset:
    ds = Dataset()
    ds.Rows, ds.Columns, ds.BitsAllocated, ds.SamplesPerPixel = 2, 3, 16, 1
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.update(changes)
    return ds


@pytest.mark.parametrize("tail", [b"", NAME])
def test_nothing_stays_behind_the_last_pixel(tail: bytes) -> None:
    assert trimmed(image(), bytes(12) + tail, undefined_length=False) == bytes(12)


def test_frames_samples_and_padding_count() -> None:
    ds = image()
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.BitsAllocated = 3, 3, 8
    value = bytes(range(54))
    assert trimmed(ds, value + NAME, undefined_length=False) == value
    ds.NumberOfFrames, ds.SamplesPerPixel, ds.Rows = 1, 1, 1
    assert trimmed(ds, b"\1\2\3" + NAME, undefined_length=False) == b"\1\2\3\0"


def test_an_unknown_size_changes_nothing() -> None:
    assert trimmed(Dataset(), NAME, undefined_length=False) == NAME


@pytest.mark.parametrize(
    "frame",
    [
        jpeg(segment(0xFE, NAME)),
        jpeg(segment(0xE1, b"Exif\0\0" + NAME)),
        jpeg(segment(0xED, NAME)),
        jpeg(behind=NAME),
        jpeg().removesuffix(b"\xff\xd9") + segment(0xFE, NAME) + b"\xff\xd9",
        b"\xff\x4f" + segment(0x51, bytes(10)) + segment(0x64, b"\0\1" + NAME) + b"\xff\x90" + bytes(20),
    ],
)
def test_comments_of_compressed_frames_are_blanked(frame: bytes) -> None:
    value = encapsulate([frame, jpeg()])
    out = trimmed(image(), value, undefined_length=True)
    assert len(out) == len(value)
    assert NAME not in out


def test_what_decoders_read_stays() -> None:
    value = encapsulate([jpeg(segment(0xE0, b"JFIF\0\1\1"), segment(0xEE, b"Adobe\0"), segment(0xDB, NAME))])
    assert trimmed(image(), value, undefined_length=True) == value


@pytest.mark.parametrize(
    "name", ["JPEG2000.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jpeg_gdcm.dcm", "MR_small_RLE.dcm"]
)
def test_real_streams_keep_their_length(name: str) -> None:
    ds = dcmread(get_testdata_file(name, read=False, download=False))
    assert len(trimmed(ds, ds.PixelData, undefined_length=True)) == len(ds.PixelData)
