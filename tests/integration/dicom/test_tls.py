"""TLS and mutual TLS against dcmtk's storescu and against sockets that misbehave."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from client_plugin.config import DicomPeer
from client_plugin.dicom.calling import CallFailed, CallFailure, association
from client_plugin.dicom.tls import client_context
from tests.integration.dicom.node import DCMTK, Node, running
from tests.pki import Authority

pytestmark = pytest.mark.integration
CT = get_testdata_file("CT_small.dcm")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def node(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    certificate, key = authority.issue("node")
    tls = {"certificate": str(certificate), "private_key": str(key), "ca_certificates": str(authority.certificate)}
    dicom = {"tls": tls, "acse_timeout": 3.0, "processes": 1}
    with running(tmp_path_factory.mktemp("tls") / "kit", dicom=dicom) as node:
        yield node


def storescu(node: Node, *options: str) -> subprocess.CompletedProcess[str]:
    command = ["storescu", *options, "-aet", "PACS", "-aec", "FEDPACS", "127.0.0.1", str(node.port), CT]
    return subprocess.run(command, env=DCMTK, capture_output=True, text=True, timeout=30, check=False)


def received(node: Node) -> int:
    counts = node.catalogue.counts()
    return counts["spool_pending"] + counts["instances"] + counts["quarantine"]


def test_a_peer_with_a_certificate_of_our_authority_can_store(node: Node, authority: Authority) -> None:
    certificate, key = authority.issue("pacs")
    sent = storescu(node, "+tls", str(key), str(certificate), "+cf", str(authority.certificate))
    assert sent.returncode == 0, sent.stderr
    assert received(node) == 1


def test_a_peer_without_a_certificate_of_ours_cannot(node: Node, authority: Authority, tmp_path: Path) -> None:
    before = received(node)
    certificate, key = Authority(tmp_path / "foreign", "Other CA").issue("pacs")
    assert storescu(node).returncode != 0
    assert storescu(node, "+tla", "+cf", str(authority.certificate)).returncode != 0
    assert storescu(node, "+tls", str(key), str(certificate), "+cf", str(authority.certificate)).returncode != 0
    assert received(node) == before


@pytest.mark.parametrize(
    ("version", "ciphers"),
    [(ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0"), (ssl.TLSVersion.TLSv1_2, "AES256-SHA256"),
     (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES256-SHA384")],
)  # fmt: skip
def test_what_the_profile_excludes_is_refused(
    node: Node, authority: Authority, version: ssl.TLSVersion, ciphers: str
) -> None:
    context = client_context(node.config)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = version
    context.set_ciphers(ciphers)
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", node.port)) as plain:  # noqa: PT011
        context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_peer_that_stalls_in_the_handshake_stalls_nobody(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.port)) as stalling:
        peer = DicomPeer(ae_title="FEDPACS", addresses=("127.0.0.1",), host="127.0.0.1", port=node.port, tls=True)
        caller = node.config.model_copy(update={"dicom": node.config.dicom.model_copy(update={"ae_title": "PACS"})})
        with association(caller, peer, _verification()) as established:
            assert established.send_c_echo().Status == 0
        stalling.settimeout(15)
        assert stalling.recv(1) == b""  # closed by the ACSE timeout


def test_we_check_the_certificate_of_who_we_call(node: Node, tmp_path: Path) -> None:
    certificate, key = Authority(tmp_path / "foreign", "Other CA").issue("caller")
    tls = {"certificate": certificate, "private_key": key, "ca_certificates": certificate}
    dicom = node.config.dicom.model_copy(update={"tls": node.config.dicom.tls.model_copy(update=tls)})
    peer = DicomPeer(ae_title="FEDPACS", addresses=("127.0.0.1",), host="127.0.0.1", port=node.port, tls=True)
    caller = node.config.model_copy(update={"dicom": dicom})
    with pytest.raises(CallFailed) as failed, association(caller, peer, _verification()):
        pass
    assert failed.value.failure is CallFailure.UNREACHABLE


def _verification() -> list:
    from pynetdicom import build_context

    return [build_context("1.2.840.10008.1.1")]
