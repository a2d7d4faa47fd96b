import os
import time
from pathlib import Path

from client_plugin.archive.catalogue import Catalogue
from client_plugin.intake.committer import GroupCommitter
from client_plugin.intake.spool import Origin, Spool, Spooled
from client_plugin.intake.sweep import sweep

ORIGIN = Origin("1.2.840.10008.5.1.4.1.1.2", "1.2.3", "1.2.840.10008.1.2.1", "PACS")


def written(spool: Spool, data: bytes) -> Spooled:
    incoming = spool.begin(ORIGIN)
    incoming.write(data)
    return incoming.finish()


def test_only_what_nobody_waits_for_is_deleted(tmp_path: Path) -> None:
    catalogue = Catalogue.open(f"sqlite:///{tmp_path / 'catalogue.sqlite'}")
    dead = Spool(tmp_path / "spool", bytes(32))
    dead.take_slot()
    committer = GroupCommitter(dead, catalogue)
    pending, conflict = written(dead, b"a"), written(dead, b"b")
    committer.commit(pending)
    committer.commit(conflict)  # in quarantine
    unanswered, young, half = written(dead, b"c"), written(dead, b"d"), written(dead, b"e")
    dead.publish([unanswered.name, young.name])
    for spooled in (pending, conflict, unanswered):
        os.utime(dead.path(spooled.name), (0, time.time() - 3600))
    dead.close()

    spool = Spool(tmp_path / "spool", bytes(32))
    sweep(spool, catalogue)
    assert {path.stem for path in spool.folder.glob("*.sealed")} == {pending.name, conflict.name, young.name}
    assert not spool.part(half.name).exists()
    spool.begin(ORIGIN).discard()  # it has a slot now
