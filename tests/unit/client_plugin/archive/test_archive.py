import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from client_plugin.archive.archive import Archive, NotInArchive
from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.instance import ArchivedInstance, NotArchivable
from client_plugin.archive.keys import SiteKeys
from client_plugin.archive.patients import PatientForgotten
from client_plugin.archive.sealing import SealBroken
from client_plugin.config import NodeConfig

from .samples import ct

KEYS = SiteKeys(site=b"\1" * 32, root=b"\2" * 32)


@pytest.fixture
def archive(catalogue: Catalogue, tmp_path: Path) -> Archive:
    objects = tmp_path / "objects"
    objects.mkdir()
    return Archive(objects, catalogue, KEYS.derive("wrap"))


@pytest.fixture(scope="module")
def part10() -> bytes:
    return Path(get_testdata_file("CT_small.dcm")).read_bytes()


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_what_was_added_is_read_back(archive: Archive, part10: bytes) -> None:
    assert archive.add(part10, ct(1))
    assert archive.read(ct(1).sop_instance_uid) == part10
    (row,) = archive.series(ct(1).series_uid)
    assert (row.size, row.sha256) == (len(part10), hashlib.sha256(part10).hexdigest())
    with archive.open_object(ct(1).sop_instance_uid) as file:
        assert pydicom.dcmread(file).Modality == "CT"


def test_nothing_is_written_in_clear(archive: Archive, part10: bytes, tmp_path: Path) -> None:
    archive.add(part10, ct(1))
    written = b"".join(path.read_bytes() for path in files(tmp_path / "objects"))
    assert b"CompressedSamples" in part10
    assert len(written) > len(part10)
    assert b"CompressedSamples" not in written
    assert part10[2000:2064] not in written


def test_the_first_copy_is_kept(archive: Archive) -> None:
    assert archive.add(b"first", ct(1))
    assert not archive.add(b"second", ct(1))
    assert archive.read(ct(1).sop_instance_uid) == b"first"


def test_an_object_that_a_crash_left_without_a_row_is_written_again(archive: Archive, tmp_path: Path) -> None:
    path = tmp_path / "objects" / "P1" / f"{ct(1).sop_instance_uid}.sealed"
    path.parent.mkdir()
    path.write_bytes(b"half")
    archive.add(b"whole", ct(1))
    assert archive.read(ct(1).sop_instance_uid) == b"whole"


def test_objects_cannot_be_exchanged(archive: Archive, tmp_path: Path) -> None:
    archive.add(b"one", ct(1))
    archive.add(b"two", ct(2))
    folder = tmp_path / "objects" / "P1"
    (folder / f"{ct(1).sop_instance_uid}.sealed").replace(folder / f"{ct(2).sop_instance_uid}.sealed")
    with pytest.raises(SealBroken):
        archive.read(ct(2).sop_instance_uid)
    with pytest.raises(NotInArchive, match="restore"):
        archive.read(ct(1).sop_instance_uid)


def test_each_patient_has_a_key_of_their_own(archive: Archive, tmp_path: Path) -> None:
    archive.add(b"one", ct(1, pseudonym="P1"))
    archive.add(b"two", ct(1, study=2, pseudonym="P2"))
    objects = tmp_path / "objects"
    (objects / "P2" / f"{ct(1, study=2).sop_instance_uid}.sealed").write_bytes(
        (objects / "P1" / f"{ct(1).sop_instance_uid}.sealed").read_bytes()
    )
    with pytest.raises(SealBroken):
        archive.read(ct(1, study=2).sop_instance_uid)


def test_another_site_key_opens_nothing(archive: Archive, catalogue: Catalogue, tmp_path: Path) -> None:
    archive.add(b"one", ct(1))
    with pytest.raises(SealBroken):
        Archive(tmp_path / "objects", catalogue, bytes(32)).read(ct(1).sop_instance_uid)


def test_what_was_never_here(archive: Archive) -> None:
    with pytest.raises(NotInArchive, match="never here"):
        archive.read("2.25.404")


def test_a_disk_that_refuses_leaves_no_half_object(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            archive.add(b"one", ct(1))
    assert list(files(tmp_path / "objects")) == []
    assert archive.catalogue.counts()["instances"] == 0


def test_forgetting_leaves_nothing_that_can_be_read_back(archive: Archive, part10: bytes, tmp_path: Path) -> None:
    archive.add(part10, ct(1))
    archive.add(part10, ct(1, study=2, pseudonym="P2"))
    wrapped = archive.catalogue.patient_key("P1")
    kept = archive.catalogue.patient_key("P2")
    assert wrapped
    assert kept
    if archive.catalogue.dialect == "sqlite":  # the test can see the key before
        assert any(wrapped[-32:] in path.read_bytes() for path in files(tmp_path))
    archive.forget("P1")
    on_disk = b"".join(path.read_bytes() for path in files(tmp_path))
    assert wrapped[-32:] not in on_disk
    assert ct(1).sop_instance_uid.encode() + b"\0" not in on_disk
    assert not (tmp_path / "objects" / "P1").exists()
    with pytest.raises(NotInArchive):
        archive.read(ct(1).sop_instance_uid)
    assert archive.read(ct(1, study=2).sop_instance_uid) == part10
    archive.forget("P1")  # again is no error


def test_what_arrives_for_a_forgotten_patient_is_refused_even_with_the_key_in_memory(
    archive: Archive, catalogue: Catalogue, tmp_path: Path
) -> None:
    archive.add(b"one", ct(1))
    Archive(tmp_path / "objects", catalogue, KEYS.derive("wrap")).forget("P1")  # another process
    (tmp_path / "objects" / "P1").mkdir()
    for _ in range(2):
        with pytest.raises(PatientForgotten):
            archive.add(b"two", ct(2))
    assert list(files(tmp_path / "objects")) == []


@pytest.mark.parametrize(
    "other",
    [ct(2, pseudonym="P2"), ct(2, study=2, series_uid="2.25.1.1")],
    ids=["study of another patient", "series of another study"],
)
def test_what_contradicts_the_archive_is_refused_and_leaves_nothing(
    archive: Archive, tmp_path: Path, other: ArchivedInstance
) -> None:
    archive.add(b"one", ct(1))
    with pytest.raises(NotArchivable, match="another"):
        archive.add(b"two", other)
    assert len(list(files(tmp_path / "objects"))) == 1
    assert archive.catalogue.counts()["studies"] == 1


def test_half_written_files_of_dead_writers_are_deleted_and_those_of_living_ones_are_not(tmp_path: Path) -> None:
    config = NodeConfig(site="hospital-a", kit=tmp_path)
    parts = config.objects / ".parts"
    parts.mkdir(parents=True)
    for name, age in (("dead", 7200), ("living", 0)):
        (parts / name).write_bytes(b"half")
        os.utime(parts / name, (time.time() - age,) * 2)
    Archive.open(config).close()
    assert [path.name for path in parts.iterdir()] == ["living"]


def test_a_node_opens_its_archive_by_its_configuration(tmp_path: Path, part10: bytes) -> None:
    config = NodeConfig(site="hospital-a", kit=tmp_path)
    meta = ArchivedInstance.from_dataset(pydicom.dcmread(get_testdata_file("CT_small.dcm")), "P1")
    one = Archive.open(config)
    one.add(part10, meta)
    one.close()
    two = Archive.open(config)
    assert two.read(meta.sop_instance_uid) == part10
    two.close()
