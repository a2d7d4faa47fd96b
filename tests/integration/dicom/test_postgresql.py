"""The whole intake over PostgreSQL: several listeners, workers and associations at once."""

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.integration.dicom.node import Node, running, until
from tests.integration.dicom.raw import CT, EXPLICIT, associate, context_for, store
from tests.integration.dicom.test_durability import instance
from tests.unit.client_plugin.archive.conftest import PostgreSQL

pytestmark = pytest.mark.integration
SENDERS, INSTANCES = 4, 15


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with TemporaryDirectory(prefix="postgresql-") as folder:  # pytest's own folders let no other account in
        server = PostgreSQL(Path(folder))
        with (
            server.database() as url,
            running(tmp_path / "kit", intake={"workers": 2}, more={"archive": {"catalogue_url": url}}) as node,
        ):
            yield node
        server.stop()


def send(node: Node, sender: int, statuses: list[int | None]) -> None:
    association = associate(node.port, [(CT, EXPLICIT)])
    context = context_for(association, CT, EXPLICIT)
    assert context is not None
    for number in range(INSTANCES):
        uid, data, _ = instance(sender, number)
        statuses.append(store(association, context, CT, uid, data))
    association.release()


def test_concurrent_associations_and_a_killed_worker(node: Node) -> None:
    statuses: list[int | None] = []
    # Two senders send the same instances at the same time: each is stored once.
    threads = [threading.Thread(target=send, args=(node, number // 2, statuses)) for number in range(SENDERS)]
    for thread in threads:
        thread.start()
    os.kill(node.intake._places["worker-1"].child.process.pid, signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert statuses == [0x0000] * SENDERS * INSTANCES
    assert until(node.drained, 60)
    assert node.catalogue.counts()["instances"] == SENDERS // 2 * INSTANCES
    assert node.reasons() == []
    assert until(lambda: node.catalogue.counts()["studies_sealed"] == 1)
