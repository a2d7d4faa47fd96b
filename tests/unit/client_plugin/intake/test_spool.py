from pathlib import Path

import pydicom
import pytest

from client_plugin.archive.sealing import SealBroken
from client_plugin.intake.spool import Origin, Spool, Spooled

KEY = bytes(range(32))
ORIGIN = Origin("1.2.840.10008.5.1.4.1.1.2", "1.2.3.4", "1.2.840.10008.1.2.1", "PACS")
DATA = b"\x08\x00\x18\x00UI\x08\x001.2.3.4\x00" + b"\x10\x00\x10\x00PN\x0a\x00DOE^JANE  "


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(tmp_path / "spool", KEY)
    spool.take_slot()
    return spool


def put(spool: Spool, data: bytes = DATA, origin: Origin = ORIGIN) -> Spooled:
    incoming = spool.begin(origin)
    for start in range(0, len(data), 7):
        incoming.write(data[start : start + 7])
    spooled = incoming.finish()
    spool.publish([spooled.name])
    return spooled


def test_the_data_set_comes_back_bit_for_bit_as_a_dicom_file(spool: Spool) -> None:
    spooled = put(spool)
    with spool.open(spooled.name) as file:
        assert file.read().endswith(DATA)
    with spool.open(spooled.name) as file:
        dataset = pydicom.dcmread(file)
    assert dataset.file_meta.TransferSyntaxUID == ORIGIN.transfer_syntax_uid
    assert dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3.4"
    assert dataset.PatientName == "DOE^JANE"
    assert (spooled.size, spooled.head) == (len(DATA), DATA)


def test_nothing_readable_on_the_disk(spool: Spool) -> None:
    put(spool)
    for path in spool.folder.rglob("*"):
        content = str(path).encode() + path.read_bytes()
        assert b"DOE" not in content
        assert b"1.2.3.4" not in content
        assert path.stat().st_mode & 0o077 == 0


def test_digests_tell_instances_and_contents_apart_and_need_the_key(spool: Spool, tmp_path: Path) -> None:
    first, again = put(spool), put(spool)
    other = put(spool, DATA + b"\0\0")
    assert (first.uid_digest, first.content_digest) == (again.uid_digest, again.content_digest)
    assert first.content_digest != other.content_digest
    foreign = Spool(tmp_path / "other", bytes(32))
    foreign.take_slot()
    assert put(foreign).content_digest != first.content_digest
    assert foreign.uid_digest("1.2.3.4") != spool.uid_digest("1.2.3.4")


def test_a_file_under_another_name_is_not_accepted(spool: Spool) -> None:
    first, second = put(spool), put(spool)
    spool.path(first.name).rename(spool.path(second.name))
    with pytest.raises(SealBroken), spool.open(second.name) as file:
        file.read()


def test_a_discarded_instance_leaves_nothing(spool: Spool) -> None:
    incoming = spool.begin(ORIGIN)
    incoming.write(DATA)
    incoming.discard()
    incoming.discard()
    assert not [*spool.folder.glob("*.part"), *spool.folder.glob("*.sealed")]


def test_each_writer_has_its_own_slot_and_cleans_up_behind_dead_ones(tmp_path: Path) -> None:
    dead, living = Spool(tmp_path, KEY), Spool(tmp_path, KEY)
    dead.take_slot()
    living.take_slot()
    whole = put(dead)
    half = dead.begin(ORIGIN)
    half.write(DATA)
    writing = living.begin(ORIGIN)
    dead.close()  # as the kernel does when the process ends
    heir = Spool(tmp_path, KEY)
    left = heir.take_slot()
    assert left.whole == (whole.name,)
    assert left.provisional == (half.name,)
    assert writing.name not in left.provisional


def test_leftovers_of_a_higher_slot_are_found_too(tmp_path: Path) -> None:
    first, second = Spool(tmp_path, KEY), Spool(tmp_path, KEY)
    first.take_slot()
    second.take_slot()
    half = second.begin(ORIGIN)
    first.close()
    second.close()
    assert Spool(tmp_path, KEY).take_slot().provisional == (half.name,)


def test_writing_needs_a_slot(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="take_slot"):
        Spool(tmp_path, KEY).begin(ORIGIN)


@pytest.mark.parametrize("name", ["../key", "0-abc", "/etc/passwd", ""])
def test_only_names_of_the_spool_become_paths(spool: Spool, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        spool.path(name)
