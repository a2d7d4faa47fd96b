"""A real PACS: Orthanc from Debian's package, with its DICOMweb plugin."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import requests
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from tests.integration.dicom.node import DCMTK, free_port

PLUGINS = "/usr/share/orthanc/plugins"


@dataclass
class Orthanc:
    """A running Orthanc.

    Parameters
    ----------
    dicom_port, http_port
        On the loopback interface; its AE title is ORTHANC.
    """

    dicom_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb(self) -> str:
        return f"{self.url}/dicom-web"

    def add(self, *datasets: Dataset) -> None:
        """Store instances by its REST interface."""
        for ds in datasets:
            file = BytesIO()
            ds.save_as(file, enforce_file_format=True)
            requests.post(f"{self.url}/instances", data=file.getvalue(), timeout=30).raise_for_status()

    def remove(self, study_uid: str) -> None:
        """Delete a study."""
        found = requests.post(f"{self.url}/tools/lookup", data=study_uid, timeout=30).json()
        for study in found:
            requests.delete(f"{self.url}/studies/{study['ID']}", timeout=30).raise_for_status()


@contextmanager
def orthanc(folder: Path, modalities: dict[str, int], **settings: Any) -> Iterator[Orthanc]:
    """Run Orthanc; ``modalities`` are the AE titles and ports that it may send to."""
    peer = Orthanc(free_port(), free_port())
    folder.mkdir(parents=True)
    configuration = {
        "Name": "ORTHANC",
        "StorageDirectory": str(folder / "storage"),
        "IndexDirectory": str(folder / "storage"),
        "DicomAet": "ORTHANC",
        "DicomPort": peer.dicom_port,
        "HttpPort": peer.http_port,
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowFind": True,
        "DicomAlwaysAllowMove": True,
        "DicomModalities": {name: [name, "127.0.0.1", port] for name, port in modalities.items()},
        "Plugins": [f"{PLUGINS}/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        **settings,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], env=DCMTK, stdout=log, stderr=log)
    try:
        _wait(peer, process)
        yield peer
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait(peer: Orthanc, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        assert process.poll() is None, "Orthanc ended: see its log"
        try:
            requests.get(f"{peer.url}/system", timeout=1)
        except requests.ConnectionError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("Orthanc did not answer within 20 s")


def study(number: int, *, series: int = 1, slices: int = 3, **attributes: Any) -> list[Dataset]:
    """A CT study: ``series`` series of ``slices`` slices, made from pydicom's real one."""
    made = []
    for one in range(1, series + 1):
        for slice_ in range(1, slices + 1):
            ds = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
            ds.PatientID, ds.PatientName = f"MRN-{number}", f"Doe^Jane{number}"
            ds.AccessionNumber = f"ACC-{number}"
            ds.StudyInstanceUID = f"1.2.826.0.1.3680043.10.1.{number}"
            ds.SeriesInstanceUID = f"{ds.StudyInstanceUID}.{one}"
            ds.SOPInstanceUID = f"{ds.SeriesInstanceUID}.{slice_}"
            ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
            ds.ImagePositionPatient = [-158.1, -179.0, 2.5 * slice_]
            ds.InstanceNumber = slice_
            ds.BodyPartExamined = "CHEST"
            ds.StudyDescription = "CT CHEST"
            for keyword, value in attributes.items():
                setattr(ds, keyword, value)
            made.append(ds)
    return made
