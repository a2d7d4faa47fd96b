import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile, Quarantine, Reason, text_detector
from client_plugin.intake.deidentify.screening import TextRisk, text_risk

from .conftest import FixedKeys, read, written

NAME = "MUSTERMANN ERIKA 12.03.1957"


def picture(text: str = NAME, size: tuple[int, int] = (640, 480)) -> NDArray[np.uint8]:
    """A grey sector in the middle, text at the top."""
    image = Image.new("L", size, 0)
    draw = ImageDraw.Draw(image)
    draw.text((20, 12), text, fill=230, font=ImageFont.load_default(22))
    draw.pieslice((120, 20, 520, 440), 45, 135, fill=90)
    rng = np.random.default_rng(0)
    pixels = np.asarray(image).astype(np.int16)
    return np.where(pixels == 90, pixels + rng.integers(-30, 30, pixels.shape), pixels).astype(np.uint8)


def instance(ct: Dataset, pixels: NDArray[np.uint8], **changes: object) -> Dataset:
    ct.SOPClassUID, ct.Modality = UltrasoundImageStorage, "US"
    ct.Rows, ct.Columns = pixels.shape[-2:]
    ct.BitsAllocated = ct.BitsStored = 8
    ct.HighBit, ct.PixelRepresentation = 7, 0
    ct.PixelData = pixels.tobytes()
    for keyword, value in changes.items():
        setattr(ct, keyword, value)
    return read(written(ct))


def seen(ds: Dataset) -> str:
    """What a reader reads in the picture."""
    frame = np.stack([ds.pixel_array] * 3, axis=-1) if ds.pixel_array.ndim == 2 else ds.pixel_array
    return " ".join(text_detector.read(frame, box)[0] for box in text_detector.find(frame))


def test_the_reader_reads(ct: Dataset) -> None:
    assert "MUSTERMANN" in seen(instance(ct, picture()))


def test_text_goes_and_the_sector_stays(deidentifier: Deidentifier, ct: Dataset) -> None:
    before = picture()
    out = read(written(deidentifier.apply(instance(ct, before)).dataset))
    assert seen(out) == ""
    assert out.BurnedInAnnotation == "NO"
    sector = np.s_[120:430, 150:490]
    assert np.array_equal(out.pixel_array[sector], before[sector])


def test_everything_outside_of_the_declared_regions_goes(deidentifier: Deidentifier, ct: Dataset) -> None:
    before = picture()
    before[:15, :15] = 200  # no text, but not part of the ultrasound either
    region = Dataset()
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 120, 60
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = 520, 440
    out = deidentifier.apply(instance(ct, before, SequenceOfUltrasoundRegions=[region])).dataset
    assert not out.pixel_array[:60].any()
    assert np.array_equal(out.pixel_array[100:440, 150:490], before[100:440, 150:490])


def test_every_frame_of_a_loop_is_blanked(deidentifier: Deidentifier, ct: Dataset) -> None:
    loop = np.stack([picture("") if i != 3 else picture() for i in range(6)])  # the name appears in one frame only
    ds = instance(ct, loop, NumberOfFrames=6, SOPClassUID=UltrasoundMultiFrameImageStorage)
    out = deidentifier.apply(ds).dataset
    assert not out.pixel_array[:, 10:40, 20:300].any()


def test_16_bits_keep_their_values(deidentifier: Deidentifier, ct: Dataset) -> None:
    pixels = picture().astype("<u2") * 16
    ds = instance(ct, pixels, SOPClassUID=SecondaryCaptureImageStorage, Modality="OT")
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 16, 12, 11
    out = deidentifier.apply(ds).dataset
    assert np.array_equal(out.pixel_array[120:430], pixels[120:430])
    assert not out.pixel_array[12:32, 20:300].any()


def test_without_the_option_such_pictures_are_quarantined(keys: FixedKeys, ct: Dataset) -> None:
    profile = Profile.from_config(DeidentificationConfig(clean_pixel_data=False))
    with pytest.raises(Quarantine) as caught:
        Deidentifier(profile, keys).apply(instance(ct, picture()))
    assert caught.value.reason is Reason.BURNED_IN_TEXT


def test_without_the_detector_too(deidentifier: Deidentifier, ct: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_detector, "_PACKAGE", "no_such_package")
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(instance(ct, picture()))
    assert caught.value.reason is Reason.BURNED_IN_TEXT


def test_pixels_that_cannot_be_decoded_are_quarantined(deidentifier: Deidentifier, ct: Dataset) -> None:
    ds = instance(ct, picture())
    ds.Rows = 9999
    with pytest.raises(Quarantine) as caught:
        deidentifier.apply(ds)
    assert caught.value.reason is Reason.PIXELS_NOT_DECODABLE


@pytest.mark.parametrize(
    ("change", "risk"),
    [
        ({}, TextRisk.NONE),
        ({"BurnedInAnnotation": "NO"}, TextRisk.NONE),
        ({"BurnedInAnnotation": "YES"}, TextRisk.LIKELY),
        ({"Modality": "US", "BurnedInAnnotation": "NO"}, TextRisk.LIKELY),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, TextRisk.LIKELY),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "DOSE_INFO"]}, TextRisk.LIKELY),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, TextRisk.POSSIBLE),
        ({"Modality": "DX"}, TextRisk.POSSIBLE),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, TextRisk.POSSIBLE),
        ({"SeriesDescription": "Low dose thorax"}, TextRisk.POSSIBLE),  # only what can be read is blanked
        ({"ImageType": ""}, TextRisk.POSSIBLE),
    ],
)
def test_which_pictures_are_looked_at(ct: Dataset, change: dict[str, object], risk: TextRisk) -> None:
    for keyword, value in change.items():
        setattr(ct, keyword, value)
    assert text_risk(ct, "ct-image") is risk
