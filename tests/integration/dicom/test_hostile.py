"""A peer that misbehaves in every way: the right answer, a named quarantine, and the listener lives."""

import random
import socket
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pynetdicom import AE, build_context
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import P_DATA

from client_plugin.dicom.upper_layer import MAX_PDU
from tests.integration.dicom.node import Node, running, until
from tests.integration.dicom.raw import CT, EXPLICIT, associate, context_for, element, named, store

pytestmark = pytest.mark.integration


FUZZ = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    limits = {"max_associations": 3, "acse_timeout": 2.0, "network_timeout": 4.0, "processes": 1}
    small = {"worker_memory_bytes": 1 << 30}
    with running(tmp_path_factory.mktemp("hostile") / "kit", dicom=limits, intake=small) as node:
        yield node


@pytest.fixture(autouse=True)
def _lives(node: Node) -> Iterator[None]:
    """Whatever happened, the same processes still serve."""
    before = {name: place.child.process.pid for name, place in node.intake._places.items()}
    yield
    assert until(lambda: echo(node), 20)
    assert {name: place.child.process.pid for name, place in node.intake._places.items()} == before
    assert all(node.intake.alive().values())


def echo(node: Node) -> bool:
    entity = AE("PACS")
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 5
    association = entity.associate(
        "127.0.0.1", node.port, contexts=[build_context("1.2.840.10008.1.1")], ae_title="FEDPACS"
    )
    if not association.is_established:
        return False
    answered = association.send_c_echo()
    association.release()
    return bool(answered) and answered.Status == 0


def send(node: Node, data: bytes, uid: str, syntax: str = EXPLICIT, sop_class: str = CT) -> int | None:
    association = associate(node.port, [(CT, syntax)])
    context = context_for(association, CT, syntax)
    assert context is not None
    status = store(association, context, sop_class, uid, data)
    association.release() if association.is_established else association.abort()
    return status


SEQUENCE = b"\x08\0\x06\0SQ\0\0\xff\xff\xff\xff"
NESTED = SEQUENCE + (b"\xfe\xff\0\xe0\xff\xff\xff\xff" + SEQUENCE) * 5000


@pytest.mark.parametrize(
    ("uid", "data", "status", "reason"),
    [
        ("1.9.1", b"", 0xA900, "uids-missing"),
        ("1.9.2", b"\0" * 132, 0xC000, "unreadable"),
        ("1.9.3", b"\0" * 128 + b"DICM" + named("1.9.3"), 0xC000, "unreadable"),
        ("1.9.4", named("1.9.5"), 0xA900, "uids-differ"),
        ("1.9.6", named("1.9.6", sop_class="1.2.840.10008.5.1.4.1.1.4"), 0xA900, "uids-differ"),
        ("../../../../etc/passwd", named("../../../../etc/passwd"), 0x0117, "uid-invalid"),
        ("1.9.7\n1.9.8", named("1.9.7"), 0x0117, "uid-invalid"),
        ("1.9.9", b"\x08\0\x16\0UI\xff\xff1.2", 0xC000, "unreadable"),
        ("1.9.10", b"\x08\0\x16\0OB\0\0\xff\xff\xff\x7f1.2", 0xC000, "unreadable"),
        ("1.9.11", named("1.9.11", b"\x10\0\x10\0PN\xff\xffDOE"), 0x0000, None),
        ("1.9.12", NESTED, 0x0000, "uids-missing|unreadable"),
        ("1.9.13", named("1.9.13", b"\x09\0\x06\0SQ\0\0\xff\xff\xff\xff" + b"\xff" * 64), 0x0000, "unreadable"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_an_instance_that_cannot_be_kept(node: Node, uid: str, data: bytes, status: int, reason: str | None) -> None:
    before = node.reasons()
    assert send(node, data or element(8, 5, b"CS", b""), uid) == status
    assert until(node.drained)
    after = node.reasons()
    for known in before:
        after.remove(known)
    assert len(after) == 1
    assert reason is None or after[0] in reason.split("|")


def test_a_small_data_set_that_inflates_to_gigabytes(node: Node) -> None:
    size = 3 << 30
    compressor = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
    bomb = compressor.compress(named("1.9.30", b"\xe0\x7f\x10\0OB\0\0" + size.to_bytes(4, "little")))
    bomb += compressor.flush(zlib.Z_FULL_FLUSH)
    megabyte = compressor.compress(b"\0" * (1 << 20)) + compressor.flush(zlib.Z_FULL_FLUSH)
    bomb += megabyte * (size >> 20) + compressor.flush()  # a full flush makes blocks independent of each other
    assert send(node, bomb, "1.9.30", syntax="1.2.840.10008.1.2.1.99") == 0x0000
    assert until(node.drained, 60)
    assert "too-large" in node.reasons()


def test_a_command_for_another_class_than_its_context(node: Node) -> None:
    mr = "1.2.840.10008.5.1.4.1.1.4"
    assert send(node, named("1.9.20", sop_class=mr), "1.9.20", sop_class=mr) == 0xA900
    assert "sop-class-differs" in node.reasons()


def test_unknown_classes_and_syntaxes_are_not_accepted(node: Node) -> None:
    association = associate(node.port, [("1.2.840.113619.4.26", EXPLICIT), (CT, "1.2.840.113619.5.2"), (CT, EXPLICIT)])
    assert [(cx.abstract_syntax, cx.transfer_syntax[0]) for cx in association.accepted_contexts] == [(CT, EXPLICIT)]
    association.release()


def test_the_broken_files_of_pydicom_data(node: Node) -> None:
    folders = [Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent / "data"]
    for number, path in enumerate(sorted(p for folder in folders for p in folder.rglob("*") if p.is_file())):
        if path.stat().st_size < 300_000:
            status = send(node, path.read_bytes(), f"1.8.{number}")  # whole files, text, archives: no data sets
            assert status in (0xA900, 0xC000), path.name
    assert until(node.drained, 60)


def test_more_associations_than_allowed_are_rejected_for_now(node: Node) -> None:
    held = [associate(node.port, [(CT, EXPLICIT)]) for _ in range(3)]
    assert all(association.is_established for association in held)
    one_more = associate(node.port, [(CT, EXPLICIT)])
    assert one_more.is_rejected
    answer = one_more.acceptor.primitive
    assert (answer.result, answer.result_source, answer.diagnostic) == (2, 3, 2)
    for association in held:
        association.release()


def test_a_peer_that_stalls_is_cut(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as silent:
        silent.settimeout(10)
        started = time.monotonic()
        assert silent.recv(100) == b""  # ACSE timeout
        assert time.monotonic() - started < 6
    association = associate(node.port, [(CT, EXPLICIT)])
    association.dul.socket.socket.sendall(b"\x04\0" + (1000).to_bytes(4, "big") + b"\0")
    assert until(lambda: association.is_aborted or not association.is_established, 15)  # network timeout
    assert not [*node.config.spool.glob("*.part")]


def data_pdu(data: bytes, header: int = 0x02) -> bytes:
    primitive = P_DATA()
    primitive.presentation_data_value_list = [[1, bytes([header]) + data]]
    pdu = P_DATA_TF()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def store_command(uid: str) -> bytes:
    """The command set of a C-STORE-RQ for a CT, implicit VR little endian."""

    def element(number: int, value: bytes) -> bytes:
        value += b"\0" * (len(value) % 2)
        return b"\0\0" + number.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    command = element(0x02, CT.encode()) + element(0x100, b"\1\0") + element(0x110, b"\1\0")
    command += element(0x700, b"\0\0") + element(0x800, b"\1\0") + element(0x1000, uid.encode())
    return element(0, len(command).to_bytes(4, "little")) + command


@pytest.mark.parametrize("pieces", [[bytes([byte]) for byte in data_pdu(b"\x01" * 90)], [data_pdu(b"\0", 0)] * 90])
def test_a_peer_that_trickles_is_cut_and_leaves_nothing(node: Node, pieces: list[bytes]) -> None:
    """Bytes of one PDU, or one tiny PDU after the other: never silent for long, and it does not get on."""
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall(request_pdu())
        connection.recv(4096)
        connection.sendall(data_pdu(store_command("1.9.50"), 0x03) + data_pdu(named("1.9.50"), 0x00))
        assert until(lambda: bool([*node.config.spool.glob("*.part")]), 5)
        started = time.monotonic()
        connection.settimeout(0.2)
        for piece in pieces:  # 18 s
            try:
                connection.sendall(piece)
                connection.recv(100)
            except TimeoutError:
                continue
            except ConnectionError:
                pass
            break  # A-ABORT, or the end of the connection
        assert time.monotonic() - started < 3 * node.config.dicom.network_timeout
    assert until(lambda: not [*node.config.spool.glob("*.part")], 5)


def test_a_flood_of_silent_connections_does_not_shut_out_the_pacs(node: Node) -> None:
    flood = [socket.create_connection(("127.0.0.1", node.port)) for _ in range(60)]
    assert until(lambda: echo(node), 15)
    for connection in flood:
        connection.close()


def test_garbage_in_place_of_an_association_request(node: Node) -> None:
    chance = random.Random(1)
    for _ in range(60):
        with socket.create_connection(("127.0.0.1", node.port)) as connection:
            connection.sendall(chance.randbytes(chance.randrange(1, 2000)))


def request_pdu() -> bytes:
    """A valid A-ASSOCIATE-RQ for CT Image Storage."""
    from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "PACS", "FEDPACS"
    length, implementation = MaximumLengthNotification(), ImplementationClassUIDNotification()
    length.maximum_length_received, implementation.implementation_class_uid = 16384, "1.2.3"
    primitive.user_information = [length, implementation]
    context = build_context(CT, EXPLICIT)
    context.context_id = 1
    primitive.presentation_context_definition_list = [context]
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(primitive)
    return bytes(pdu.encode())


def test_a_c_store_without_its_mandatory_parameters_leaves_nothing(node: Node) -> None:
    def implicit(element: int, value: bytes) -> bytes:
        return b"\0\0" + element.to_bytes(2, "little") + len(value).to_bytes(4, "little") + value

    command = implicit(0x02, CT.encode() + b"\0") + implicit(0x100, b"\1\0")
    command += implicit(0x700, b"\0\0") + implicit(0x800, b"\1\0") + implicit(0x1000, b"1.9.40")  # no Message ID
    command = implicit(0, len(command).to_bytes(4, "little")) + command
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.settimeout(10)
        connection.sendall(request_pdu())
        connection.recv(4096)
        connection.sendall(data_pdu(command, 0x03) + data_pdu(named("1.9.40")))
        assert connection.recv(100)[:1] == b"\x07"  # A-ABORT
    assert until(lambda: not [*node.config.spool.glob("*.part")])


def damaged(content: bytes, damage: list[tuple[int, int]]) -> bytes:
    changed = bytearray(content)
    for position, value in damage:
        changed[position % len(changed)] = value
    return bytes(changed)


DAMAGE = st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=8)


@FUZZ
@given(damage=DAMAGE)
def test_fuzzed_association_requests(node: Node, damage: list[tuple[int, int]]) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.sendall(damaged(request_pdu(), damage))


@FUZZ
@given(pdus=st.lists(st.one_of(st.binary(min_size=1, max_size=300), st.binary(max_size=300).map(data_pdu)), max_size=4))
def test_fuzzed_messages_after_negotiation(node: Node, pdus: list[bytes]) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.settimeout(10)
        connection.sendall(request_pdu())
        connection.recv(4096)
        for pdu in pdus:
            try:
                connection.sendall(pdu)
            except OSError:
                break


@FUZZ
@given(damage=DAMAGE, number=st.integers(0, 10**9))
def test_fuzzed_data_sets(node: Node, damage: list[tuple[int, int]], number: int) -> None:
    uid = f"1.7.{number}"
    dataset = named(uid, element(0x10, 0x10, b"PN", b"DOE^JANE") + NESTED[:200] + element(0x20, 0xD, b"UI", b"1.2"))
    assert send(node, damaged(dataset, damage), uid) in (0x0000, 0xA900, 0xC000)


def test_the_worker_gets_through_all_of_it(node: Node) -> None:
    assert until(node.drained, 120)
    for path, content in node.plain_bytes():
        assert b"DOE^JANE" not in content, path


def test_a_longer_pdu_than_announced_is_not_read(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as connection:
        connection.settimeout(10)
        connection.sendall(request_pdu())
        connection.recv(4096)
        connection.sendall(b"\x04\0" + (MAX_PDU + 1).to_bytes(4, "big"))
        answer = connection.recv(100)
        assert answer[:1] in (b"\x07", b"")  # A-ABORT, then closed
