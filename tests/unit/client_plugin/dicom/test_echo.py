"""C-ECHO against pynetdicom's own acceptor; dcmtk's is in the integration tests."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from client_plugin.config import DicomConfig, DicomPeer, MetricsConfig, NodeConfig
from client_plugin.dicom.echo import Echo, PeerWatch, echo
from observability.instruments import registry

CONFIG = NodeConfig(site="a", dicom=DicomConfig(ae_title="FEDPACS"))
STRANGER = NodeConfig(site="a", dicom=DicomConfig(ae_title="STRANGER"))


@pytest.fixture
def status() -> dict[str, int]:
    return {"code": 0x0000}


@pytest.fixture
def peer(status: dict[str, int]) -> Iterator[DicomPeer]:
    entity = AE("PACS")
    entity.add_supported_context(Verification)
    entity.require_calling_aet = ["FEDPACS"]
    server = entity.start_server(
        ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, lambda _event: status["code"])]
    )
    yield DicomPeer(ae_title="PACS", addresses=("127.0.0.1/32",), host="127.0.0.1", port=server.socket.getsockname()[1])
    server.shutdown()


def test_answers(peer: DicomPeer, status: dict[str, int]) -> None:
    assert echo(CONFIG, peer) is Echo.ANSWERED
    status["code"] = 0x0122
    assert echo(CONFIG, peer) is Echo.FAILED
    assert echo(STRANGER, peer) is Echo.REJECTED


def test_nobody_there_and_nobody_answering(peer: DicomPeer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert echo(CONFIG, peer.model_copy(update={"port": port}), timeout=0.5) is Echo.UNREACHABLE
    assert echo(CONFIG, peer.model_copy(update={"port": port}), timeout=0.5) is Echo.UNREACHABLE


def test_what_is_not_configured_names_the_cure(peer: DicomPeer) -> None:
    with pytest.raises(ValueError, match=r"give host and port in dicom\.peers"):
        echo(CONFIG, peer.model_copy(update={"host": None}))
    with pytest.raises(ValueError, match=r"dicom\.tls names no certificate"):
        echo(CONFIG, peer.model_copy(update={"tls": True}))


def test_the_watch_shows_what_it_saw(peer: DicomPeer, status: dict[str, int]) -> None:
    uncallable = DicomPeer(ae_title="MODALITY", addresses=("127.0.0.1/32",))
    config = NodeConfig(
        site="site-a", dicom=DicomConfig(peers=(peer, uncallable)), metrics=MetricsConfig(echo_seconds=0.05)
    )
    watch = PeerWatch(config)
    watch.look()
    value = registry().get_sample_value
    assert value("fedpacs_peer_up", {"peer": "PACS"}) == 1
    assert value("fedpacs_peer_up", {"peer": "MODALITY"}) is None
    status["code"] = 0x0122
    watch.look()
    assert value("fedpacs_peer_up", {"peer": "PACS"}) == 0
