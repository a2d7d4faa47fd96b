"""Pulling from real peers: Orthanc by C-MOVE, C-GET and DICOMweb, and one that misbehaves."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pydicom
import pytest
import yaml
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless
from sqlalchemy import select

from client_plugin.archive.archive import Archive
from client_plugin.archive.models import Instance, PullState, Received
from client_plugin.archive.pulls import PullSummary
from client_plugin.config import NodeConfig, PullConfig
from client_plugin.dicom.pull import command
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import PullError, PullReason
from tests.integration.dicom.node import Node, ended, free_port, running, until
from tests.integration.dicom.orthanc import Orthanc, orthanc, study
from tests.integration.dicom.stubborn import StubbornPacs

pytestmark = pytest.mark.integration
METHODS = ("c-move", "c-get", "dicomweb")
CHEST = PullQuery(modality=("CT",), body_part=("CHEST",))
PORT = free_port()


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    """Chest CT 1 to 3 (2 is compressed and of another year), a head CT 4 and an MR 5."""
    with orthanc(tmp_path_factory.mktemp("pacs") / "orthanc", {"FEDPACS": PORT}) as running_pacs:
        running_pacs.add(*study(1, series=2), *study(3, slices=1), *study(4, BodyPartExamined="HEAD"))
        running_pacs.add(*compressed(2), *study(5, slices=1, Modality="MR", StudyDescription="MR Knee"))
        yield running_pacs


def compressed(number: int) -> list[Dataset]:
    """A study of one JPEG 2000 instance, as it came from the scanner."""
    ds = pydicom.dcmread(get_testdata_file("MR_small_jp2klossless.dcm"))
    for keyword, value in study(number, slices=1, StudyDate="20230501")[0].items():
        if keyword.group in (0x0008, 0x0010, 0x0018, 0x0020) and keyword != 0x00080016:
            ds[keyword] = value
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID
    return [ds]


def node(tmp_path: Path, peer: dict[str, Any], port: int = PORT, **pull: Any) -> Any:
    peers = [{"ae_title": "PACS", "addresses": ["127.0.0.1"], "host": "127.0.0.1", **peer}]
    rules = {"retry_seconds": 0.1, "retry_max_seconds": 0.2, "max_tries": 2, "stall_seconds": 30.0}
    settings = {"enabled": False, **rules, **pull}  # the test itself is the puller
    return running(tmp_path / "kit", dicom={"port": port, "peers": peers}, more={"pull": settings})


def with_orthanc(tmp_path: Path, pacs: Orthanc, method: str, **pull: Any) -> Any:
    peer = {"ae_title": "ORTHANC", "port": pacs.dicom_port}
    return node(tmp_path, peer, method=method, dicomweb_url=pacs.dicomweb, **pull)


def pull(config: NodeConfig, query: PullQuery) -> list[PullSummary]:
    queued = command.find(config, query)
    assert command.work(config, threading.Event())
    return command.pulls(config, queued.job)


def ends(pulls: list[PullSummary]) -> list[tuple[str, str | None, int]]:
    return [(pull.state.value, pull.reason, pull.here) for pull in pulls]


@pytest.mark.parametrize("method", METHODS)
def test_a_cohort_comes_into_the_archive(tmp_path: Path, pacs: Orthanc, method: str) -> None:
    with with_orthanc(tmp_path, pacs, method) as here:
        pulls = pull(here.config, CHEST)
        assert sorted(ends(pulls)) == [("done", None, 1), ("done", None, 1), ("done", None, 6)]
        assert until(here.drained)
        assert until(lambda: all(s.state == "sealed" for s in here.catalogue.studies()))
        assert sorted(s.instances for s in here.catalogue.studies()) == [1, 1, 6]
        assert {s.study_uid for s in here.catalogue.studies()} == {p.study_uid for p in pulls}
        assert compressed_came_as_it_was_stored(here.config)
        again = command.find(here.config, CHEST)
        assert (again.studies.done, again.studies.new) == (3, 0)
        for path, content in here.plain_bytes():
            assert b"MRN-" not in content, path
            assert b"1.2.826.0.1.3680043.10.1." not in content, path


def compressed_came_as_it_was_stored(config: NodeConfig) -> bool:
    """Whether the one compressed instance was sent and archived compressed, with the same pixels."""
    archive = Archive.open(config)
    try:
        with archive.catalogue.reading() as session:
            sent = session.scalars(select(Received.transfer_syntax_uid)).all()
            uids = session.scalars(select(Instance.uid).where(Instance.transfer_syntax_uid == JPEG2000Lossless)).all()
        archived = [pydicom.dcmread(BytesIO(archive.read(uid))).pixel_array for uid in uids]
    finally:
        archive.close()
    (original,) = compressed(2)
    return sent.count(JPEG2000Lossless) == 1 and [np.array_equal(a, original.pixel_array) for a in archived] == [True]


@pytest.mark.parametrize("method", ["c-move", "dicomweb"])
@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ({"modality": "CT"}, 4),
        ({"modality": ["CT", "MR"]}, 5),
        ({"modality": "CT", "body_part": ["HEAD", "CHEST"]}, 4),
        ({"study_date": {"from": "2023-01-01", "to": "2023-12-31"}}, 1),
        ({"accession": ["ACC-1", "ACC-3", "ACC-99"]}, 2),
        ({"patient_id": "MRN-5"}, 1),
        ({"study_description": "*knee*"}, 1),
        ({"study_description": ["*knee*", "ct ch?st"]}, 5),
        ({"study_uid": "1.2.826.0.1.3680043.10.1.4", "modality": "MR"}, 0),
        ({"modality": "US"}, 0),
    ],
)
def test_conditions_mean_the_same_everywhere(
    tmp_path: Path, pacs: Orthanc, method: str, query: dict[str, Any], studies: int
) -> None:
    settings = PullConfig(method=method, dicomweb_url=pacs.dicomweb)  # type: ignore[arg-type]
    peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": pacs.dicom_port}
    config = NodeConfig.model_validate({"site": "a", "kit": tmp_path, "pull": settings, "dicom": {"peers": [peer]}})
    assert command.find(config, PullQuery.model_validate(query)).studies.new == studies


@pytest.mark.parametrize("method", METHODS)
def test_a_study_that_is_gone_is_a_terminal_state_and_stops_nothing(tmp_path: Path, pacs: Orthanc, method: str) -> None:
    pacs.add(*study(77, slices=1, BodyPartExamined="SPINE"), *study(78, slices=1, BodyPartExamined="SPINE"))
    with with_orthanc(tmp_path, pacs, method) as here:
        queued = command.find(here.config, PullQuery(body_part=("SPINE",)))
        pacs.remove("1.2.826.0.1.3680043.10.1.77")
        assert command.work(here.config, threading.Event())
        assert sorted(ends(command.pulls(here.config, queued.job))) == [("done", None, 1), ("failed", "not-found", 0)]
    pacs.remove("1.2.826.0.1.3680043.10.1.78")


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    for method in METHODS:
        url = f"http://127.0.0.1:{free_port()}/dicom-web"
        peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": free_port()}
        pull_section = PullConfig(method=method, dicomweb_url=url)  # type: ignore[arg-type]
        config = NodeConfig.model_validate(
            {"site": "a", "kit": tmp_path, "pull": pull_section, "dicom": {"peers": [peer]}}
        )
        with pytest.raises(PullError) as raised:
            command.find(config, CHEST)
        assert raised.value.reason is PullReason.UNREACHABLE


def test_a_pacs_that_does_not_know_us_as_a_destination(tmp_path: Path, pacs: Orthanc) -> None:
    peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "port": pacs.dicom_port}
    with node(tmp_path, peer, free_port(), method="c-move") as here:
        named = here.config.model_copy(update={"dicom": here.config.dicom.model_copy(update={"ae_title": "STRANGER"})})
        pulls = pull(named, PullQuery(accession=("ACC-3",)))
        assert [(p.state.value, p.here) for p in pulls] == [("failed", 0)]
        assert pulls[0].reason in ("destination-unknown", "source-failed")


@contextmanager
def stubborn(
    tmp_path: Path, ways: dict[int, str], pause: float = 0.0, **pull: Any
) -> Iterator[tuple[Node, StubbornPacs]]:
    """A node and a PACS with one study per entry of ``ways``."""
    port = free_port()
    datasets = [ds for number in ways for ds in study(number, slices=2)]
    by_uid = {study(number)[0].StudyInstanceUID: way for number, way in ways.items()}
    with (
        StubbornPacs(datasets, port, by_uid, pause).running() as pacs,
        node(tmp_path, {"ae_title": "STUBBORN", "port": pacs.port}, port, **pull) as here,
    ):
        yield here, pacs


def test_a_c_move_that_takes_longer_than_the_usual_30_s_is_waited_for(tmp_path: Path) -> None:
    with stubborn(tmp_path, {1: "slow"}, pause=31.0, stall_seconds=60.0) as (here, pacs):
        started = time.monotonic()
        assert ends(pull(here.config, CHEST)) == [("done", None, 2)]
        assert time.monotonic() - started > 31
        assert len(pacs.moves) == 1


def test_a_peer_that_stalls_lies_or_hangs_up_does_not_stop_the_others(tmp_path: Path) -> None:
    ways = {1: "stall", 2: "lie", 3: "drop", 4: "good", 5: "good"}
    with stubborn(tmp_path, ways, stall_seconds=1.5, concurrency=2) as (here, pacs):
        found = ends(pull(here.config, CHEST))
        assert found == [
            ("failed", "stalled", 0),
            ("failed", "incomplete", 0),
            ("failed", "connection-lost", 0),
            ("done", None, 2),
            ("done", None, 2),
        ]
        assert len(pacs.moves) == 3 * 2 + 2


def _work(kit: Path) -> None:
    command.work(NodeConfig.load(kit), threading.Event())


def killed_once_it_got_further(config: NodeConfig) -> None:
    def done() -> int:
        return command.summarize(command.pulls(config)).done

    before = done()
    worker = multiprocessing.get_context("spawn").Process(target=_work, args=(config.kit,))
    worker.start()
    assert until(lambda: done() > before)
    worker.kill()
    worker.join()


def test_a_killed_puller_is_resumed_where_it_was(tmp_path: Path, pacs: Orthanc) -> None:
    pacs.add(*(ds for number in range(100, 108) for ds in study(number, slices=4, BodyPartExamined="LEG")))
    with with_orthanc(tmp_path, pacs, "c-move", concurrency=1) as here:
        queued = command.find(here.config, PullQuery(body_part=("LEG",)))
        assert queued.studies.new == 8
        for _ in range(2):
            killed_once_it_got_further(here.config)
        assert any(p.state is not PullState.DONE for p in command.pulls(here.config))
        assert command.work(here.config, threading.Event())
        pulls = command.pulls(here.config, queued.job)
        assert ends(pulls) == [("done", None, 4)] * 8
        assert {p.tries for p in pulls} == {1}
        assert until(here.drained)
        assert here.catalogue.counts()["instances"] == 32


def test_only_one_process_works_the_table_off(tmp_path: Path) -> None:
    with stubborn(tmp_path, {1: "stall"}, stall_seconds=60.0) as (here, _):
        command.find(here.config, CHEST)
        stop = threading.Event()
        first = threading.Thread(target=command.work, args=(here.config, stop))
        first.start()
        assert until(lambda: command.pulls(here.config)[0].state is PullState.RUNNING)
        assert not command.work(here.config, threading.Event())
        stop.set()
        first.join(20)
        assert not first.is_alive()
        assert command.pulls(here.config)[0].state is PullState.WAITING


class NodeProcess:
    """A node in a process of its own, for being killed."""

    def __init__(self, kit: Path) -> None:
        self._kit = kit

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.integration.dicom.node", str(self._kit)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"up\n"

    def kill(self) -> None:
        children = psutil.Process(self._process.pid).children()
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        assert ended(children)


def test_the_node_itself_pulls_in_its_windows_and_goes_on_after_it_was_killed(tmp_path: Path, pacs: Orthanc) -> None:
    pacs.add(*(ds for number in range(200, 206) for ds in study(number, slices=4, BodyPartExamined="ARM")))
    peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": pacs.dicom_port}
    soon = datetime.now(UTC) + timedelta(hours=2)
    closed = f"{soon:%H:%M}-{soon + timedelta(hours=1):%H:%M}"
    rules = {"concurrency": 1, "retry_seconds": 0.1, "time_zone": "UTC", "windows": [closed]}
    here = Node(tmp_path / "kit", dicom={"port": PORT, "peers": [peer], "processes": 1}, more={"pull": rules})
    file = here.config.kit / "local" / "fedpacs.yaml"
    node = NodeProcess(here.config.kit)
    node.start()
    job = command.find(here.config, PullQuery(body_part=("ARM",))).job
    time.sleep(2.0)
    assert {p.state for p in command.pulls(here.config, job)} == {PullState.WAITING}  # it is not the time
    node.kill()
    settings = yaml.safe_load(file.read_text())
    del settings["pull"]["windows"]
    file.write_text(yaml.safe_dump(settings))
    node.start()
    assert until(lambda: command.summarize(command.pulls(here.config, job)).done >= 1)
    node.kill()
    assert not command.summarize(command.pulls(here.config, job)).over
    node.start()
    try:
        assert until(lambda: command.summarize(command.pulls(here.config, job)).over, 60)
        assert ends(command.pulls(here.config, job)) == [("done", None, 4)] * 6
        assert until(here.drained)
        assert here.catalogue.counts()["instances"] == 24
    finally:
        node.kill()
