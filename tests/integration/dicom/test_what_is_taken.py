"""Everything that the libraries know and every test file there is, through the real listener, bit for bit."""

import os
import signal
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import data_store
import psutil
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from client_plugin.dicom.negotiation import STORAGE_SOP_CLASSES, TRANSFER_SYNTAXES
from tests.integration.dicom.node import DCMTK, Node, running, until
from tests.integration.dicom.raw import CT, EXPLICIT, associate, context_for, element, named, store

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node whose worker stands still, so that the spool can be looked at."""
    with running(tmp_path_factory.mktemp("taken") / "kit") as node:
        worker = node.intake._places["worker-0"].child.process.pid
        with node.catalogue.writing():  # not while it holds the catalogue: the listeners would wait for it in vain
            os.kill(worker, signal.SIGSTOP)
            assert until(lambda: psutil.Process(worker).status() == psutil.STATUS_STOPPED, 5)
        yield node
        os.kill(worker, signal.SIGCONT)


def spooled(node: Node, uid: str) -> bytes:
    """The DICOM file that the spool holds for an instance."""
    spool = node.spool
    digest = spool.uid_digest(uid)
    (name,) = [name for name, found in _names(node) if found == digest]
    with spool.open(name) as file:
        return file.read()


def _names(node: Node) -> list[tuple[str, str]]:
    from sqlalchemy import select

    from client_plugin.archive.models import Received

    with node.catalogue.reading() as session:
        return [(row.spool_name, row.uid_digest) for row in session.scalars(select(Received))]


def test_every_storage_class_in_every_transfer_syntax(node: Node) -> None:
    pairs = [(sop_class, EXPLICIT) for sop_class in sorted(STORAGE_SOP_CLASSES)]
    pairs += [(CT, syntax) for syntax in sorted(TRANSFER_SYNTAXES - {EXPLICIT})]
    for start in range(0, len(pairs), 64):
        batch = pairs[start : start + 64]
        association = associate(node.port, batch)
        assert association.is_established
        for sop_class, syntax in batch:
            context = context_for(association, sop_class, syntax)
            assert context is not None, (sop_class, syntax)
            uid = generate_uid()
            data = named(uid, element(0x10, 0x10, b"PN", b"DOE^JANE"), sop_class)
            if syntax == "1.2.840.10008.1.2":
                data = _implicit(uid, sop_class)
            elif syntax == "1.2.840.10008.1.2.2":
                data = _big_endian(uid, sop_class)
            assert store(association, context, sop_class, uid, data) == 0x0000, (sop_class, syntax)
            assert spooled(node, uid).endswith(data)
        association.release()


def _implicit(uid: str, sop_class: str) -> bytes:
    def plain(number: int, value: str) -> bytes:
        encoded = value.encode() + b"\0" * (len(value) % 2)
        return b"\x08\0" + number.to_bytes(2, "little") + len(encoded).to_bytes(4, "little") + encoded

    return plain(0x16, sop_class) + plain(0x18, uid)


def _big_endian(uid: str, sop_class: str) -> bytes:
    def swapped(number: int, value: str) -> bytes:
        encoded = value.encode() + b"\0" * (len(value) % 2)
        return b"\0\x08" + number.to_bytes(2, "big") + b"UI" + len(encoded).to_bytes(2, "big") + encoded

    return swapped(0x16, sop_class) + swapped(0x18, uid)


def files() -> list[str]:
    found = []
    folders = [Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"]
    for path in sorted(str(path) for folder in folders for path in folder.rglob("*") if path.is_file()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                meta = pydicom.dcmread(path, stop_before_pixels=True).file_meta
            except Exception:  # noqa: BLE001, S112 - the broken ones are sent elsewhere
                continue
        known = meta.get("TransferSyntaxUID") in TRANSFER_SYNTAXES
        if known and meta.get("MediaStorageSOPClassUID") in STORAGE_SOP_CLASSES:
            found.append(path)
    return found


def test_real_files_are_kept_bit_for_bit(node: Node) -> None:
    sent: set[str] = set()
    kept = refused = 0
    for path in files():
        meta = pydicom.filereader.read_file_meta_info(path)
        with Path(path).open("rb") as file:
            data = file.read()[_data_set_start(path) :]
        uid, sop_class = str(meta.MediaStorageSOPInstanceUID), str(meta.MediaStorageSOPClassUID)
        if uid in sent:
            continue
        sent.add(uid)
        association = associate(node.port, [(sop_class, str(meta.TransferSyntaxUID))])
        context = context_for(association, sop_class, str(meta.TransferSyntaxUID))
        assert context is not None, path
        status = store(association, context, sop_class, uid, data)
        association.release()
        if status == 0x0000:
            assert spooled(node, uid).endswith(data), path
            kept += 1
        else:
            assert status in (0xA900, 0xC000), path
            refused += 1
    assert kept > 55
    assert refused == len(node.reasons())
    assert refused < 12


def _data_set_start(path: str) -> int:
    with Path(path).open("rb") as file:
        pydicom.filereader.read_preamble(file, force=False)
        pydicom.filereader._read_file_meta_info(file)
        return file.tell()


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("CT_small.dcm", "-x="),
        ("MR_small_implicit.dcm", "-xi"),
        ("MR_small_bigendian.dcm", "-xb"),
        ("JPEG2000.dcm", "-xw"),
        ("MR_small_jpeg_ls_lossless.dcm", "-xt"),
        ("SC_rgb_jpeg_gdcm.dcm", "-xs"),
        ("MR_small_RLE.dcm", "-xr"),
        ("SC_rgb_small_odd_jpeg.dcm", "-xy"),
    ],
)
def test_dcmtk_sends_every_kind_of_transfer_syntax(node: Node, name: str, option: str) -> None:
    path = get_testdata_file(name)
    assert path is not None
    command = ["storescu", option, "+II", "-aet", "PACS", "-aec", "FEDPACS", "127.0.0.1", str(node.port), str(path)]
    before = node.catalogue.counts()["spool_pending"]
    sent = subprocess.run(command, env=DCMTK, capture_output=True, text=True, timeout=60, check=False)
    assert sent.returncode == 0, sent.stderr
    assert node.catalogue.counts()["spool_pending"] == before + 1
