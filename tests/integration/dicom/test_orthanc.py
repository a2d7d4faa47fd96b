"""Orthanc as the hospital's PACS: it stores to us and asks for storage commitment."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from tests.integration.dicom.node import DCMTK, Node, free_port, running, until

pytestmark = pytest.mark.integration


class Orthanc:
    """A running Orthanc and its REST interface."""

    def __init__(self, folder: Path, fedpacs_port: int, dicom_port: int) -> None:
        self._url = f"http://127.0.0.1:{(http := free_port())}"
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": http,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomPort": dicom_port,
            "DicomAet": "PACS",
            "Plugins": [],
            "DicomModalities": {"fedpacs": ["FEDPACS", "127.0.0.1", fedpacs_port]},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        log = (folder / "log").open("wb")
        with log:
            self.process = subprocess.Popen(
                ["Orthanc", str(folder / "orthanc.json")], env=DCMTK, stdout=log, stderr=log
            )
        assert until(self._answers), "Orthanc did not come up"

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=60) as answer:  # noqa: S310 - a fixed local address
            return json.load(answer)

    def post(self, path: str, body: Any) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data=data, method="POST")  # noqa: S310
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            return json.load(answer)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Orthanc]]:
    folder = tmp_path_factory.mktemp("orthanc")
    port = free_port()
    peers = [{"ae_title": "PACS", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": port}]
    with running(folder / "kit", dicom={"peers": peers}) as node:
        orthanc = Orthanc(folder, node.port, port)
        yield node, orthanc
        orthanc.process.terminate()
        orthanc.process.wait(20)


def upload(orthanc: Orthanc, folder: Path, count: int) -> list[tuple[str, str]]:
    """(Orthanc's id, SOP Instance UID) of new instances."""
    ids = []
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.BodyPartExamined = "CHEST"
    for number in range(count):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number + 1
        dataset.save_as(folder / "one.dcm")
        ids.append((orthanc.post("/instances", (folder / "one.dcm").read_bytes())["ID"], str(dataset.SOPInstanceUID)))
    return ids


def test_a_study_is_stored_archived_and_sealed(hospital: tuple[Node, Orthanc], tmp_path: Path) -> None:
    node, orthanc = hospital
    ids = upload(orthanc, tmp_path, 20)
    before = node.catalogue.counts()["instances"]
    answer = orthanc.post("/modalities/fedpacs/store", [id_ for id_, _ in ids])
    assert answer["InstancesCount"] == 20
    assert answer["FailedInstancesCount"] == 0
    assert until(node.drained)
    assert node.catalogue.counts()["instances"] == before + 20
    assert until(lambda: node.catalogue.counts()["studies_open"] == 0)


def test_commitment_is_reported_on_a_new_association(hospital: tuple[Node, Orthanc], tmp_path: Path) -> None:
    _, orthanc = hospital
    ids = upload(orthanc, tmp_path, 3)
    orthanc.post("/modalities/fedpacs/store", [id_ for id_, _ in ids[:2]])
    ct = "1.2.840.10008.5.1.4.1.1.2"
    answer = orthanc.post("/modalities/fedpacs/storage-commitment", {"DicomInstances": [[ct, uid] for _, uid in ids]})
    path = answer["Path"]
    assert until(lambda: orthanc.get(path)["Status"] != "Pending"), orthanc.get(path)
    report = orthanc.get(path)
    assert report["Status"] == "Failure"  # as one of them was never sent
    assert {item["SOPInstanceUID"] for item in report["Success"]} == {uid for _, uid in ids[:2]}
    assert [item["SOPInstanceUID"] for item in report["Failures"]] == [ids[2][1]]


def test_commitment_of_what_was_all_sent_succeeds(hospital: tuple[Node, Orthanc], tmp_path: Path) -> None:
    _, orthanc = hospital
    ids = upload(orthanc, tmp_path, 2)
    order = {"Resources": [id_ for id_, _ in ids], "StorageCommitment": True, "Asynchronous": True}
    job = orthanc.post("/modalities/fedpacs/store", order)["Path"]
    assert until(lambda: orthanc.get(job)["State"] == "Success"), orthanc.get(job)
    transaction = orthanc.get(job)["Content"]["StorageCommitmentTransactionUID"]
    path = f"/storage-commitment/{transaction}"
    assert until(lambda: orthanc.get(path)["Status"] == "Success"), orthanc.get(path)
