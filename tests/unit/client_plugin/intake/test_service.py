"""The intake as it runs: real processes, a real association, one start for all checks."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pydicom
import pytest
import yaml
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import CTImageStorage, Verification

from client_plugin.archive.archive import Archive
from client_plugin.config import NodeConfig
from client_plugin.intake.service import Intake, IntakeError


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kit(folder: Path, **dicom: object) -> NodeConfig:
    peers = [{"ae_title": "PACS", "addresses": ["127.0.0.0/8"]}]
    settings = {
        "site": "hospital-a",
        "dicom": {"host": "127.0.0.1", "port": free_port(), "peers": peers, "drain_timeout": 5.0, **dicom},
        "intake": {"quiet_seconds": 0.5, "min_free_bytes": 0},
    }
    (folder / "local").mkdir(parents=True)
    (folder / "local" / "fedpacs.yaml").write_text(yaml.safe_dump(settings))
    return NodeConfig.load(folder)


class Running:
    def __init__(self, config: NodeConfig) -> None:
        self.config = config
        self.intake = Intake(config)

    def associate(self, calling: str = "PACS", called: str = "FEDPACS"):
        entity = AE(calling)
        entity.add_requested_context(CTImageStorage, pydicom.uid.ExplicitVRLittleEndian)
        entity.add_requested_context(Verification)
        return entity.associate("127.0.0.1", self.config.dicom.port, ae_title=called)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(kit(tmp_path_factory.mktemp("node") / "kit"))
    running.intake.start()
    yield running
    running.intake.stop(10)


def ct() -> Dataset:
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.BodyPartExamined = "CHEST"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    return dataset


def until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_all_processes_run(running: Running) -> None:
    assert running.intake.alive() == {"listener-0": True, "listener-1": True, "worker-0": True}
    assert running.intake.port == running.config.dicom.port


def test_an_instance_goes_all_the_way_to_a_sealed_study(running: Running) -> None:
    association = running.associate()
    assert association.is_established
    assert association.send_c_echo().Status == 0
    for _ in range(3):
        assert association.send_c_store(ct()).Status == 0
    association.release()
    catalogue = Archive.open(running.config).catalogue
    assert until(lambda: [s.state for s in catalogue.studies()] == ["sealed"])
    assert catalogue.studies()[0].instances == 3
    assert not [*running.config.spool.glob("*.sealed"), *running.config.spool.glob("*.part")]


@pytest.mark.parametrize(("calling", "called"), [("OTHER", "FEDPACS"), ("PACS", "OTHER")])
def test_a_rejected_peer_cannot_store(running: Running, calling: str, called: str) -> None:
    association = running.associate(calling, called)
    assert association.is_rejected
    assert not association.is_established


def test_an_abort_in_mid_transfer_leaves_nothing_and_the_listener_lives(running: Running) -> None:
    association = running.associate()
    connection = association.dul.socket.socket
    connection.sendall(b"\x04\x00" + (100_000).to_bytes(4, "big") + b"\0\0\1\0\1\3")
    connection.close()
    assert until(lambda: not [*running.config.spool.glob("*.part")])
    again = running.associate()
    assert again.send_c_echo().Status == 0
    again.release()


def test_a_pdu_longer_than_announced_is_not_read(running: Running) -> None:
    association = running.associate()
    association.dul.socket.socket.sendall(b"\x04\x00\xff\xff\xff\xff" + b"\0" * 1000)
    assert until(lambda: association.is_aborted or not association.is_established)


def test_a_process_that_dies_is_started_again(running: Running) -> None:
    place = running.intake._places["worker-0"]
    first = place.child.process.pid
    os.kill(first, signal.SIGKILL)
    assert until(lambda: place.child.process.pid != first and place.child.alive())


def test_stopping_lets_running_associations_finish_and_takes_no_new_ones(tmp_path: Path) -> None:
    running = Running(kit(tmp_path / "kit", processes=1))
    running.intake.start()
    association = running.associate()
    stopping = threading.Thread(target=running.intake.stop)
    stopping.start()
    assert until(lambda: not running.associate().is_established)
    assert association.send_c_store(ct()).Status == 0
    association.release()
    started = time.monotonic()
    stopping.join(30)
    assert time.monotonic() - started < 15
    counts = Archive.open(running.config).catalogue.counts()
    assert counts["spool_pending"] + counts["instances"] == 1


def test_an_association_that_does_not_end_is_cut_when_the_time_is_up(tmp_path: Path) -> None:
    running = Running(kit(tmp_path / "kit", processes=1, drain_timeout=0.5))
    running.intake.start()
    association = running.associate()
    started = time.monotonic()
    running.intake.stop()
    assert time.monotonic() - started < 15
    assert until(lambda: association.is_aborted)
    log = (running.config.root / "logs" / "listener.jsonl").read_text()
    assert '"drained"' in log


def test_a_port_in_use_is_an_error_that_names_the_cure(running: Running, tmp_path: Path) -> None:
    other = kit(tmp_path / "kit", port=running.config.dicom.port)
    with pytest.raises(IntakeError, match=r"dicom\.port"):
        Intake(other).start()
