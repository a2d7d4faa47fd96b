"""dcmtk around a node: a study that somebody else has moved to us, and a sender that dies in mid-transfer."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from sqlalchemy import select

from client_plugin.archive.models import Received
from client_plugin.dicom.pull.command import asked_source
from client_plugin.dicom.pull.counting import count
from tests.integration.dicom.node import DCMTK, Node, free_port, running, until
from tests.integration.dicom.orthanc import Orthanc, orthanc, study

pytestmark = pytest.mark.integration
LARGE = 200 << 20


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Node, Orthanc]]:
    folder, port = tmp_path_factory.mktemp("dcmtk"), free_port()
    with orthanc(folder / "orthanc", {"FEDPACS": port}) as pacs:
        peers = [
            {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": pacs.dicom_port},
            {"ae_title": "STORESCU", "addresses": ["127.0.0.1"]},
        ]
        dicom = {"port": port, "peers": peers, "processes": 1}
        with running(folder / "kit", dicom=dicom, more={"pull": {"enabled": False}}) as node:
            yield node, pacs


def ask(tool: str, pacs: Orthanc, *options: str) -> str:
    command = [tool, "-v", "-S", "-aec", "ORTHANC", *options, "127.0.0.1", str(pacs.dicom_port)]
    done = subprocess.run(command, env=DCMTK, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_movescu_has_the_pacs_send_us_what_findscu_and_we_count(hospital: tuple[Node, Orthanc]) -> None:
    node, pacs = hospital
    datasets = study(400, series=2, slices=3)
    pacs.add(*datasets)
    uid = str(datasets[0].StudyInstanceUID)
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}"]
    answer = ask("findscu", pacs, *keys, "-k", "NumberOfStudyRelatedInstances")
    told = re.findall(r"\(0020,1208\) IS \[(\d+)", answer)
    assert told[-1:] == [str(count(asked_source(node.config), uid))] == ["6"]
    ask("movescu", pacs, "-aem", "FEDPACS", *keys)
    assert until(lambda: node.catalogue.counts()["instances"] == 6)


def test_a_sender_that_dies_in_mid_transfer_leaves_nothing_and_can_come_again(
    hospital: tuple[Node, Orthanc], tmp_path: Path
) -> None:
    node, _ = hospital
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.826.0.1.3680043.10.1.401"
    dataset.PixelData = b"\0" * LARGE  # more than its header says: the worker may find fault, the wire does not
    dataset.save_as(tmp_path / "large.dcm", enforce_file_format=True)
    command = ["storescu", "-aec", "FEDPACS", "127.0.0.1", str(node.port), str(tmp_path / "large.dcm")]
    before = len(received(node))
    dying = subprocess.Popen(command, env=DCMTK, stderr=subprocess.DEVNULL)
    assert until(lambda: bool(parts(node)) or dying.poll() is not None)
    dying.kill()
    assert dying.wait() != 0
    assert until(lambda: not parts(node))
    assert len(received(node)) == before
    assert subprocess.run(command, env=DCMTK, timeout=120, check=False).returncode == 0
    assert len(received(node)) == before + 1


def parts(node: Node) -> list[Path]:
    return [*node.config.spool.glob("*.part")]


def received(node: Node) -> set[str]:
    with node.catalogue.reading() as session:
        return set(session.scalars(select(Received.uid_digest)))
