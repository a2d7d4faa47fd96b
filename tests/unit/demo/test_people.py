"""What is planted in the demo's studies is gone after de-identification, in every kind of instance."""

from __future__ import annotations

from io import BytesIO

import pydicom
import pytest
from pydicom.dataset import FileDataset

from client_plugin.archive.keys import SiteKeys
from client_plugin.config import DeidentificationConfig
from client_plugin.intake.deidentify import Deidentifier, Profile
from demo.data import DataFolder
from demo.people import PLANTED
from demo.studies import instances


def _encoded(dataset: FileDataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("site", ["b", "c"])
def test_nothing_planted_survives(site: str, data: DataFolder) -> None:
    """A wrapped slice, a slice of a real scanner with its private attributes, and the segmentations."""
    deidentifier = Deidentifier(
        Profile.from_config(DeidentificationConfig()), SiteKeys(site=b"\1" * 32, root=b"\2" * 32)
    )
    study = list(instances(site, data))
    for original in (study[0], study[-1]):
        sent = _encoded(original)
        assert any(text.encode() in sent for text in PLANTED[site])
        archived = _encoded(deidentifier.apply(pydicom.dcmread(BytesIO(sent))).dataset)
        assert not [text for text in PLANTED[site] if text.encode() in archived]
