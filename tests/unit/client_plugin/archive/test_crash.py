"""Processes that are killed: what was acknowledged is whole, what was not is done again."""

import contextlib
import multiprocessing
import random
import time
from pathlib import Path

from client_plugin.archive.archive import Archive
from client_plugin.archive.received import NewReceived, Outcome
from client_plugin.config import NodeConfig

from .conftest import START
from .samples import CT, EXPLICIT_LE, ct

TOTAL = 60
KILLS = 3


def content(number: int) -> bytes:
    return f"instance {number} ".encode() * 20_000


def new(number: int) -> NewReceived:
    return NewReceived(
        spool_name=f"spool-{number}",
        uid_digest=f"uid-{number}",
        content_digest="content",
        sop_class_uid=CT,
        transfer_syntax_uid=EXPLICIT_LE,
        size=1,
        source_ae="PACS",
        received_at=START,
    )


def work(kit: Path) -> None:
    """Archive what waits; every third instance is of the second patient."""
    archive = Archive.open(NodeConfig(site="hospital-a", kit=kit))
    while rows := archive.catalogue.claim("worker", 4):
        batch = []
        for row in rows:
            number = int(row.spool_name.removeprefix("spool-"))
            patient = 2 if number % 3 == 0 else 1
            batch.append(archive.write(content(number), ct(number, study=patient, pseudonym=f"P{patient}"), row))
        archive.commit(batch)


def test_a_worker_killed_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    archive = Archive.open(NodeConfig(site="hospital-a", kit=tmp_path))
    assert set(archive.catalogue.record_received([new(n) for n in range(TOTAL)])) == {Outcome.STORED}
    context, draw = multiprocessing.get_context("fork"), random.Random(7)
    interrupted = 0
    while archive.catalogue.backlog()[0]:
        worker = context.Process(target=work, args=(tmp_path,))
        worker.start()
        if interrupted < KILLS:
            done = archive.catalogue.counts()["instances"]
            while archive.catalogue.counts()["instances"] < done + draw.randrange(1, 15) and worker.is_alive():
                time.sleep(draw.random() / 100)
            worker.kill()
            interrupted += 1
        worker.join()
        for row in archive.series(ct(1).series_uid):  # what has a row can be read, at any moment
            assert archive.read(row.sop_instance_uid)
        archive.catalogue.release_claims()
    counts = archive.catalogue.counts()
    assert (counts["instances"], counts["patients"], counts["quarantine"]) == (TOTAL, 2, 0)
    for number in range(TOTAL):
        assert archive.read(ct(number, study=2 if number % 3 == 0 else 1).sop_instance_uid) == content(number)
    assert interrupted == KILLS


def record(kit: Path, acknowledged: "multiprocessing.connection.Connection") -> None:
    archive = Archive.open(NodeConfig(site="hospital-a", kit=kit))
    for number in range(10_000):
        archive.catalogue.record_received([new(number)])
        acknowledged.send(number)


def test_a_listener_killed_at_any_moment_keeps_what_it_acknowledged(tmp_path: Path) -> None:
    archive = Archive.open(NodeConfig(site="hospital-a", kit=tmp_path))
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    listener = context.Process(target=record, args=(tmp_path, theirs))
    listener.start()
    theirs.close()
    acknowledged = [ours.recv() for _ in range(50)]
    listener.kill()
    listener.join()
    with contextlib.suppress(EOFError):
        while True:
            acknowledged.append(ours.recv())
    assert archive.catalogue.received_digests(f"uid-{n}" for n in acknowledged) == {f"uid-{n}" for n in acknowledged}
