import hashlib
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile


class FixedKeys:
    """Keys that are the same in every run of the tests."""

    def __init__(self, site: str = "hospital-a") -> None:
        self.site = site

    def derive(self, purpose: str) -> bytes:
        return hashlib.sha256(f"{self.site} {purpose}".encode()).digest()


@pytest.fixture
def keys() -> FixedKeys:
    return FixedKeys()


@pytest.fixture
def deidentifier(keys: FixedKeys) -> Deidentifier:
    return Deidentifier(Profile.from_config(DeidentificationConfig()), keys)


@pytest.fixture
def ct() -> Dataset:
    """A CT image with an identity: pydicom's file has none left."""
    ds = dcmread(get_testdata_file("CT_small.dcm", read=False))
    ds.PatientName = "Mustermann^Erika^^Dr."
    ds.PatientID = "PID-4711-08"
    ds.PatientBirthDate = "19570312"
    ds.AccessionNumber = "A2026-33871"
    ds.ReferringPhysicianName = "Quacksalber^Wilfried"
    ds.InstitutionName = "Klinikum Krähwinkel"
    ds.BodyPartExamined = "CHEST"
    ds.SeriesDescription = "CT thorax with contrast"
    return ds


def written(ds: Dataset) -> bytes:
    """``ds`` as a DICOM file."""
    buffer = BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def read(data: bytes) -> Dataset:
    return dcmread(BytesIO(data))
