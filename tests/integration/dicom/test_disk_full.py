"""A disk that fills up in the middle of things: nothing acknowledged is lost, and it goes on when there is room."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from client_plugin.archive.catalogue import Catalogue
from tests.integration.dicom.node import Node, running, until
from tests.integration.dicom.raw import CT, EXPLICIT, associate, context_for, element, named, store

pytestmark = pytest.mark.integration
SIZE = 48 << 20


class SmallDisk:
    """A node whose storage is a small file system, in a mount namespace of its own."""

    def __init__(self, node: Node, pid: int) -> None:
        self.port = node.port
        self.storage = Path(f"/proc/{pid}/root{node.config.root}")

    def catalogue(self, copies: Path) -> Catalogue:
        """A copy: SQLite follows the link into the namespace out of it again."""
        folder = Path(tempfile.mkdtemp(dir=copies))
        for name in ("catalogue.sqlite", "catalogue.sqlite-wal"):
            shutil.copy(self.storage / name, folder / name)
        return Catalogue.open(f"sqlite:///{folder / 'catalogue.sqlite'}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    node = Node(tmp_path / "kit", dicom={"processes": 1})
    node.config.root.mkdir()
    mount = f"mount -t tmpfs -o size={SIZE},mode=700 none {node.config.root}"
    run = f"{sys.executable} -m tests.integration.dicom.node {node.config.kit}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f"{mount} && exec {run}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        yield SmallDisk(node, process.pid)
        process.terminate()


def megabyte(uid: str) -> bytes:
    """A data set of a megabyte that de-identification refuses: it stays in the spool, and the disk fills."""
    private = b"\x09\0\x10\0OB\0\0" + (1 << 20).to_bytes(4, "little") + b"\0" * (1 << 20)
    return named(uid, element(0x10, 0x10, b"PN", b"DOE^JANE") + private)


def test_a_full_disk_is_answered_and_survived(disk: SmallDisk, tmp_path: Path) -> None:
    association = associate(disk.port, [(CT, EXPLICIT)])
    context = context_for(association, CT, EXPLICIT)
    assert context is not None
    ballast = disk.storage / "ballast"
    ballast.write_bytes(b"\0" * (SIZE - (14 << 20)))
    statuses = [store(association, context, CT, f"1.2.3.{n}", megabyte(f"1.2.3.{n}")) for n in range(30)]
    assert set(statuses) == {0x0000, 0xA700}
    assert statuses.count(0x0000) > 2
    assert not [*(disk.storage / "spool").glob("*.part")]
    ballast.unlink()
    assert store(association, context, CT, "1.2.4", megabyte("1.2.4")) == 0x0000
    association.release()

    assert until(lambda: disk.catalogue(tmp_path).backlog()[0] == 0, 60)
    kept = disk.catalogue(tmp_path).quarantined()
    assert len(kept) == statuses.count(0x0000) + 1
    assert {row.spool_name for row in kept} <= {path.stem for path in (disk.storage / "spool").glob("*.sealed")}


COUNTING = """
import os, sys
from pathlib import Path
from observability import setup
storage = Path(sys.argv[1])
setup.share(storage)
from client_plugin.metrics import instruments
from client_plugin.metrics.labels import Received
instruments.RECEIVED_INSTANCES.inc(Received.STORED)
instruments.RECEIVE_SECONDS.observe(Received.STORED, 0.1)
ballast = os.open(storage / "ballast", os.O_CREAT | os.O_WRONLY)
try:
    while True:
        os.write(ballast, bytes(4096))
except OSError:
    pass
for outcome in Received:  # more than a page of names
    instruments.RECEIVED_INSTANCES.inc(outcome)
    instruments.RECEIVE_SECONDS.observe(outcome, 0.1)
print("counted")
"""


def test_counting_that_the_disk_is_full_does_not_kill(tmp_path: Path) -> None:
    counting = f"mount -t tmpfs -o size=4m none {tmp_path} && exec {sys.executable} -c '{COUNTING}' {tmp_path}"
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", counting]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[3]
    )
    assert (done.returncode, done.stdout) == (0, "counted\n"), done.stderr


def test_below_the_floor_associations_are_rejected_for_now(tmp_path: Path) -> None:
    with running(tmp_path / "kit", intake={"min_free_bytes": 1 << 60}, dicom={"processes": 1}) as node:
        association = associate(node.port, [(CT, EXPLICIT)])
        assert association.is_rejected
        assert association.acceptor.primitive.result == 0x02  # transient
