"""kill -9 at random moments under load: what was acknowledged is there, whole, once, and nothing identifying is."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from sqlalchemy import func, select

from client_plugin.archive.archive import Archive
from client_plugin.archive.models import Instance, Received
from tests.integration.dicom.node import Node, ended, until
from tests.integration.dicom.raw import CT, EXPLICIT, associate, context_for, store

pytestmark = pytest.mark.integration

KILLS = 20
SENDERS = 3
ROOT = "1.3.6.1.4.1.5962.99"
SECRETS = [b"WINTERBOTTOM", b"MRN-0815", b"ACC-4711", ROOT.encode()]


def instance(sender: int, number: int) -> tuple[str, bytes, str]:
    """SOP Instance UID, encoded data set, digest of its pixels."""
    uid = f"{ROOT}.{sender}.{number}"
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm"))
    dataset.PatientName, dataset.PatientID, dataset.AccessionNumber = "WINTERBOTTOM^ADA", "MRN-0815", "ACC-4711"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{ROOT}.9", f"{ROOT}.9.{sender}"
    dataset.SOPInstanceUID, dataset.InstanceNumber, dataset.BodyPartExamined = uid, number, "CHEST"
    pixels = np.random.default_rng([sender, number]).integers(0, 2000, (128, 128), dtype=np.uint16).tobytes()
    dataset.PixelData = pixels
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = False, True
    write_dataset(buffer, dataset)
    return uid, buffer.getvalue(), hashlib.sha256(pixels).hexdigest()


class Sender(threading.Thread):
    """Sends one instance after the other; one that was not acknowledged is sent again, as a PACS does."""

    def __init__(self, number: int, port: int) -> None:
        super().__init__(daemon=True)
        self._number, self._port = number, port
        self.acknowledged: dict[str, str] = {}
        self.attempts = 0
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        uid, data, digest = instance(self._number, number)
        while not self.stop.is_set():
            association = associate(self._port, [(CT, EXPLICIT)])
            context = context_for(association, CT, EXPLICIT) if association.is_established else None
            while context is not None and association.is_established and not self.stop.is_set():
                self.attempts += 1
                if store(association, context, CT, uid, data) != 0x0000:
                    break
                self.acknowledged[uid] = digest
                number += 1
                uid, data, digest = instance(self._number, number)
                time.sleep(0.03)  # the backlog must be worked off in the end
            association.abort()
            self.stop.wait(0.05)


class NodeProcess:
    """The node as one process with children, that can be killed."""

    def __init__(self, kit: Path) -> None:
        self._kit = kit
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.integration.dicom.node", str(self._kit)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        return process

    def kill(self, chance: random.Random) -> None:
        """Kill a random process of the node; if it is the whole node's, start it again."""
        children = psutil.Process(self.process.pid).children()
        victim = chance.choice([self.process.pid, *(child.pid for child in children)])
        os.kill(victim, signal.SIGKILL)
        if victim == self.process.pid:
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            assert ended(children), "children outlived the node"
            self.process = self._start()

    def end(self) -> None:
        children = psutil.Process(self.process.pid).children()
        self.process.terminate()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        ended(children)


@contextmanager
def running(node: Node) -> Iterator[NodeProcess]:
    process = NodeProcess(node.config.kit)
    try:
        yield process
    finally:
        process.end()


@contextmanager
def sending(port: int) -> Iterator[list[Sender]]:
    senders = [Sender(number, port) for number in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        yield senders
    finally:
        for sender in senders:
            sender.stop.set()
        for sender in senders:
            sender.join(60)


def test_whatever_is_killed_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    node = Node(tmp_path / "kit", intake={"workers": 1, "max_tries": 50})
    with running(node) as process:
        with sending(node.port) as senders:
            chance = random.Random(20)
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.2, 1.2))
                process.kill(chance)
            assert until(lambda: all(len(sender.acknowledged) > 5 for sender in senders), 60)
        acknowledged = {uid: digest for sender in senders for uid, digest in sender.acknowledged.items()}
        assert until(node.drained, 180)

    archive = Archive.open(node.config)
    spool = node.spool
    with archive.catalogue.reading() as session:
        total = session.scalars(select(func.count()).select_from(Instance)).one()
        pairs = select(Received.uid_digest, Instance.uid).join(Instance, Received.instance_id == Instance.id)
        kept = {row.uid_digest: row.uid for row in session.execute(pairs)}
    for uid, digest in acknowledged.items():
        archived = pydicom.dcmread(archive.open_object(kept[spool.uid_digest(uid)]))
        assert hashlib.sha256(archived.PixelData).hexdigest() == digest
    # Each sender may have had one on its way whose acknowledgement it never saw.
    assert len(acknowledged) <= total <= len(acknowledged) + SENDERS
    assert node.reasons() == []

    left = spool.take_slot()
    assert spool_names(archive, left.whole) == set()
    assert spool_names(archive, left.provisional) == set()
    for path, content in node.plain_bytes():
        for secret in SECRETS:
            assert secret not in content, path


def spool_names(archive: Archive, names: tuple[str, ...]) -> set[str]:
    return archive.catalogue.spool_names_in_use(names)
