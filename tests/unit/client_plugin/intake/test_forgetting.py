"""What forget does to raw copies that were set aside before anybody knew whose they were: tested by their bytes."""

import zlib
from datetime import UTC, datetime
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from client_plugin.archive.archive import Archive
from client_plugin.archive.keys import SiteKeys
from client_plugin.config import NodeConfig
from client_plugin.intake.committer import as_received
from client_plugin.intake.deidentify import Identity, Vault
from client_plugin.intake.deidentify.keyed import Keyed
from client_plugin.intake.deidentify.patient import Patient
from client_plugin.intake.forgetting import forget
from client_plugin.intake.reasons import IntakeReason
from client_plugin.intake.spool import Origin, Spool

EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"


def ct(patient_id: str, name: str = "NOBODY^NEMO") -> Dataset:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientID, dataset.PatientName = patient_id, name
    return dataset


def encoded(dataset: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


class Node:
    """A node with a vault, and raw copies in quarantine that bear no pseudonym."""

    def __init__(self, folder: Path, **deidentification: bool) -> None:
        self.config = NodeConfig.model_validate(
            {"site": "hospital-a", "storage": folder, "deidentification": deidentification}
        )
        self._keys = SiteKeys.open(self.config)
        self.spool = Spool(self.config.spool, self._keys.derive("spool"))
        self.spool.take_slot()
        self.pseudonym = Patient.of(ct("MRN-0815"), Keyed(self._keys)).pseudonym
        if (vault := Vault.open(self.config, self._keys)) is not None:
            vault.remember(self.pseudonym, Identity("MRN-0815", "", "WINTERBOTTOM^ADA", "", "F", -5))

    def set_aside(self, data: bytes, syntax: str = EXPLICIT) -> Path:
        incoming = self.spool.begin(Origin("1.2.840.10008.5.1.4.1.1.2", "1.2.3", syntax, "PACS"))
        incoming.write(data)
        spooled = incoming.finish()
        self.spool.publish([spooled.name])
        archive = Archive.open(self.config)
        archive.catalogue.record_quarantined(as_received(spooled, datetime.now(UTC)), IntakeReason.UNREADABLE)
        archive.close()
        return self.spool.path(spooled.name)

    def readable(self) -> bytes:
        """Every raw copy that is left, opened with the node's key."""
        left = b""
        for path in self.config.spool.glob("*.sealed"):
            with self.spool.open(path.stem) as file:
                left += file.read()
        return left


@pytest.mark.parametrize(
    ("data", "syntax"),
    [
        (encoded(ct("MRN-0815")), EXPLICIT),
        (encoded(ct("OTHER-1", name="Winterbottom^Ada")), EXPLICIT),  # the number of another, the name is theirs
        (encoded(ct("MRN-0815"))[3:], EXPLICIT),  # no data set any more
        (b"\xff" * (1 << 20) + b"mrn-0815", EXPLICIT),
        (b"\xff" * ((1 << 20) - 4) + b"MRN-0815", EXPLICIT),  # across two pieces of the search
        (deflated(encoded(ct("MRN-0815"))), DEFLATED),
        (deflated(encoded(ct("MRN-0815")))[:2000] + b"\0" * 500, DEFLATED),
        (b"not deflated at all", DEFLATED),  # nobody can tell
    ],
    ids=["whole", "name", "cut", "in garbage", "across pieces", "deflated", "damaged", "unclear"],
)
def test_nothing_of_the_patient_can_be_read_back(tmp_path: Path, data: bytes, syntax: str) -> None:
    node = Node(tmp_path)
    theirs = node.set_aside(data, syntax)
    others = (
        node.set_aside(encoded(ct("OTHER-2"))),
        node.set_aside(b"of nobody"),
        node.set_aside(deflated(encoded(ct("OTHER-3"))), DEFLATED),
    )
    gone = forget(node.config, node.pseudonym)
    assert gone.raw_copies + gone.unclear == 1
    assert not theirs.exists()
    assert all(path.exists() for path in others)
    left = node.readable().lower()
    assert b"mrn-0815" not in left
    assert b"winterbottom" not in left
    assert b"other-2" in left
    archive = Archive.open(node.config)
    assert len(archive.catalogue.quarantined()) == len(others)
    archive.close()


def test_without_a_vault_what_names_nobody_goes_too(tmp_path: Path) -> None:
    node = Node(tmp_path, reidentification=False)
    theirs, other = node.set_aside(encoded(ct("MRN-0815"))), node.set_aside(encoded(ct("OTHER-2")))
    unclear = node.set_aside(encoded(ct("MRN-0815"))[3:])
    gone = forget(node.config, node.pseudonym)
    assert (gone.raw_copies, gone.unclear) == (1, 1)
    assert [path.exists() for path in (theirs, unclear, other)] == [False, False, True]


def test_a_copy_whose_seal_is_broken_goes_too(tmp_path: Path) -> None:
    node = Node(tmp_path)
    broken = node.set_aside(encoded(ct("OTHER-2")))
    broken.write_bytes(broken.read_bytes()[:-1])
    assert forget(node.config, node.pseudonym).unclear == 1
    assert not broken.exists()
