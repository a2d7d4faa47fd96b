"""Studies that the PACS sends only half of: sealed when they are whole, or late and called incomplete."""

from collections.abc import Iterator

import pytest
import requests
from pydicom.dataset import Dataset

from client_plugin.archive.models import Completeness, StudyState
from client_plugin.archive.studies import StudySummary
from tests.integration.dicom.node import Node, free_port, running, until
from tests.integration.dicom.orthanc import Orthanc, orthanc, study

pytestmark = pytest.mark.integration
PATIENCE = 8.0


@pytest.fixture(scope="module", params=["c-move", "dicomweb"])
def hospital(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Node, Orthanc]]:
    folder, port = tmp_path_factory.mktemp("counts"), free_port()
    with orthanc(folder / "orthanc", {"FEDPACS": port}) as pacs:
        peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": pacs.dicom_port}
        pull = {"method": request.param, "dicomweb_url": pacs.dicomweb, "retry_seconds": 0.3, "retry_max_seconds": 0.5}
        dicom = {"port": port, "peers": [peer], "processes": 1}
        with running(
            folder / "kit", dicom=dicom, intake={"count_seconds": PATIENCE, "quiet_seconds": 0.5}, more={"pull": pull}
        ) as node:
            yield node, pacs


def send(pacs: Orthanc, datasets: list[Dataset]) -> None:
    """Have the PACS send some of its instances to us."""
    found = [requests.post(f"{pacs.url}/tools/lookup", data=ds.SOPInstanceUID, timeout=30).json() for ds in datasets]
    ids = [entry["ID"] for (entry,) in found]
    answer = requests.post(f"{pacs.url}/modalities/FEDPACS/store", json=ids, timeout=60)
    answer.raise_for_status()
    assert answer.json()["FailedInstancesCount"] == 0


def summary(node: Node, instances: int) -> StudySummary | None:
    found = [study for study in node.catalogue.studies() if study.instances == instances]
    return found[0] if found else None


def test_half_a_study_waits_for_the_other_half_and_one_that_stays_half_is_called_incomplete(
    hospital: tuple[Node, Orthanc],
) -> None:
    node, pacs = hospital
    late, half, foreign = study(300, slices=5), study(301, slices=4), study(302, slices=2)
    pacs.add(*late, *half, *foreign)
    send(pacs, late[:3])
    send(pacs, half[:1])
    send(pacs, foreign)
    assert until(lambda: (found := summary(node, 2)) is not None and found.state is StudyState.SEALED)
    whole = summary(node, 2)
    assert whole is not None
    assert (whole.completeness, whole.expected) == (Completeness.COMPLETE, 2)
    waiting = summary(node, 3)
    assert waiting is not None
    assert waiting.state is StudyState.OPEN  # quiet for as long as the whole one
    send(pacs, late[3:])
    assert until(lambda: (found := summary(node, 5)) is not None and found.state is StudyState.SEALED)
    now_whole, cut = summary(node, 5), summary(node, 1)
    assert now_whole is not None
    assert (now_whole.completeness, now_whole.version) == (Completeness.COMPLETE, 1)
    assert cut is not None
    assert until(lambda: (found := summary(node, 1)) is not None and found.state is StudyState.SEALED)
    cut = summary(node, 1)
    assert cut is not None
    assert (cut.completeness, cut.expected) == (Completeness.INCOMPLETE, 4)
    for path, content in node.plain_bytes():
        assert b"1.2.826.0.1.3680043.10.1." not in content, path
