"""Results to Orthanc, by C-STORE and by STOW-RS, from an outbox that a node works off."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
import requests
from pydicom.dataset import Dataset

from client_plugin.archive.keys import SiteKeys
from client_plugin.cli import main
from client_plugin.dicom.send.outbox import Job, Outbox, SendReason, SendState
from client_plugin.dicom.send.sender import WEB, outbox
from tests.integration.dicom.node import Node, free_port, running, until
from tests.integration.dicom.orthanc import Orthanc, orthanc, study

pytestmark = pytest.mark.integration


@dataclass
class Hospital:
    pacs: Orthanc
    node: Node
    outbox: Outbox

    def send(self, dataset: Dataset, destination: str) -> str:
        buffer = BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        return self.outbox.put(buffer.getvalue(), destination).id

    def job(self, job_id: str) -> Job:
        return next(job for job in self.outbox.jobs() if job.id == job_id)

    def has(self, dataset: Dataset) -> bool:
        found = requests.post(f"{self.pacs.url}/tools/lookup", data=dataset.SOPInstanceUID, timeout=30)
        return [entry["Type"] for entry in found.json()] == ["Instance"]


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("send")
    nobody = free_port()
    with orthanc(folder / "orthanc", {}, DicomAlwaysAllowStore=True) as pacs:
        peers = [
            {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": pacs.dicom_port},
            {"ae_title": "NOBODY", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": nobody},
        ]
        send = {"enabled": True, "dicomweb_url": pacs.dicomweb, "retry_seconds": 0.5, "max_tries": 3}
        with running(
            folder / "kit", dicom={"peers": peers, "processes": 1}, more={"send": send, "pull": {"enabled": False}}
        ) as node:
            assert node.intake.alive()["sender"]
            yield Hospital(pacs, node, outbox(node.config, SiteKeys.open(node.config)))


@pytest.mark.parametrize("destination", ["ORTHANC", WEB])
def test_results_arrive(hospital: Hospital, destination: str) -> None:
    datasets = study(70 if destination == WEB else 71, slices=4)
    jobs = [hospital.send(dataset, destination) for dataset in datasets]
    assert until(lambda: all(hospital.job(job).state is SendState.SENT for job in jobs))
    assert all(hospital.has(dataset) for dataset in datasets)


def test_a_destination_that_is_away_stops_no_other_and_is_given_up_in_the_end(hospital: Hospital) -> None:
    away, here = study(72, slices=1)[0], study(73, slices=1)[0]
    lost, sent = hospital.send(away, "NOBODY"), hospital.send(here, "ORTHANC")
    assert until(lambda: hospital.job(sent).state is SendState.SENT)
    assert until(lambda: hospital.job(lost).state is SendState.FAILED)
    assert (hospital.job(lost).reason, hospital.job(lost).tries) == (SendReason.UNREACHABLE, 3)


def test_what_the_destination_does_not_take_is_given_up_at_once(hospital: Hospital) -> None:
    unknown = study(74, slices=1)[0]
    unknown.SOPClassUID = unknown.file_meta.MediaStorageSOPClassUID = "1.2.826.0.1.3680043.10.999"
    job = hospital.send(unknown, "ORTHANC")
    assert until(lambda: hospital.job(job).state is SendState.FAILED)
    assert (hospital.job(job).reason, hospital.job(job).tries) == (SendReason.NOT_SUPPORTED, 1)


def test_nothing_identifying_is_in_the_outbox(hospital: Hospital) -> None:
    for path in Path(hospital.outbox._folder).iterdir():
        assert b"Doe" not in path.read_bytes()


@pytest.mark.parametrize("destination", ["ORTHANC", WEB])
def test_the_command_sends_with_and_without_a_node(hospital: Hospital, tmp_path: Path, destination: str) -> None:
    kit = hospital.node.config.kit
    alone = tmp_path / "kit"
    (alone / "local").mkdir(parents=True)
    settings = (kit / "local" / "fedpacs.yaml").read_text().replace("enabled: true", "enabled: false")
    (alone / "local" / "fedpacs.yaml").write_text(settings)
    for number, where in ((75, kit), (76, alone)):
        datasets = study(number + (5 if destination == WEB else 0), slices=2)
        folder = tmp_path / str(number)
        folder.mkdir()
        for dataset in datasets:
            dataset.save_as(folder / f"{dataset.InstanceNumber}.dcm", enforce_file_format=True)
        assert main(["send", str(folder), "--to", destination, "--kit", str(where)]) == 0
        assert all(hospital.has(dataset) for dataset in datasets)


def test_what_failed_is_listed_tried_again_and_dropped(
    hospital: Hospital, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "one.dcm"
    study(90, slices=1)[0].save_as(file, enforce_file_format=True)
    kit = ["--kit", str(hospital.node.config.kit)]
    assert main(["send", str(file), "--to", "NOBODY", *kit]) == 1
    assert "1 × unreachable" in capsys.readouterr().out
    assert main(["outbox", "--json", *kit]) == 0
    (job,) = [job for job in json.loads(capsys.readouterr().out) if job["destination"] == "NOBODY"][-1:]
    assert (job["state"], job["reason"], job["tries"]) == ("failed", "unreachable", 3)
    assert main(["outbox", job["id"], "--retry", *kit]) == 0
    assert until(lambda: hospital.job(job["id"]).state is SendState.FAILED)
    assert main(["outbox", job["id"], "--drop", *kit]) == 0
    assert job["id"] not in {left.id for left in hospital.outbox.jobs()}
    assert main(["outbox", *kit]) == 0


def test_nobody_to_send_to_and_nothing_to_send_are_named(hospital: Hospital, tmp_path: Path) -> None:
    kit = ["--kit", str(hospital.node.config.kit)]
    (tmp_path / "text.dcm").write_text("no DICOM")
    before = len(hospital.outbox.jobs())
    assert main(["send", str(tmp_path), "--to", "STRANGER", *kit]) == 1
    assert main(["send", str(tmp_path), "--to", "ORTHANC", *kit]) == 1
    assert len(hospital.outbox.jobs()) == before
