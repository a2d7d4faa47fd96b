"""Pulling from, and sending to, an Orthanc that speaks TLS only, with certificates of the hospital's authority."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from client_plugin.cli import main
from client_plugin.dicom.pull import command
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import PullError, PullReason
from client_plugin.dicom.send.sender import WEB
from tests.integration.dicom.node import Node, free_port, running, until
from tests.integration.dicom.orthanc import Orthanc, orthanc, study
from tests.integration.dicom.relay import https
from tests.pki import Authority

pytestmark = pytest.mark.integration
PORT = free_port()
CHEST = PullQuery(body_part=("CHEST",))


@dataclass(frozen=True)
class Hospital:
    """Orthanc, which takes DICOM by TLS only, and the https address of its DICOMweb."""

    pacs: Orthanc
    dicomweb: str


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def hospital(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    folder = tmp_path_factory.mktemp("pacs")
    certificate, key = authority.issue("pacs")
    tls = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificate),
        "DicomTlsPrivateKey": str(key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"FEDPACS": {"AET": "FEDPACS", "Host": "127.0.0.1", "Port": PORT, "UseDicomTls": True}},
        "DicomAlwaysAllowStore": True,
    }
    with (
        orthanc(folder / "orthanc", {}, **tls) as running_pacs,
        https(certificate, key, running_pacs.http_port) as port,
    ):
        running_pacs.add(*study(1, slices=3))
        yield Hospital(running_pacs, f"https://127.0.0.1:{port}/dicom-web")


def sections(
    authority: Authority, hospital: Hospital, method: str, *, tls: bool = True
) -> dict[str, dict[str, object]]:
    """A node whose peer is the PACS, called with TLS or without."""
    certificate, key = authority.issue("node")
    ours = {"certificate": str(certificate), "private_key": str(key), "ca_certificates": str(authority.certificate)}
    peer = {"ae_title": "ORTHANC", "addresses": ["127.0.0.1"], "host": "127.0.0.1", "port": hospital.pacs.dicom_port}
    web = {"dicomweb_url": hospital.dicomweb} | (
        {"dicomweb_ca_certificates": str(authority.certificate)} if tls else {}
    )
    return {
        "dicom": {"port": PORT, "peers": [{**peer, "tls": tls}], "tls": ours, "processes": 1},
        "more": {"pull": {"enabled": False, "method": method, "max_tries": 1, **web}, "send": web},
    }


@pytest.mark.parametrize("method", ["c-move", "c-get", "dicomweb"])
def test_a_study_comes_and_goes_over_tls(tmp_path: Path, authority: Authority, hospital: Hospital, method: str) -> None:
    with running(tmp_path / "kit", **sections(authority, hospital, method)) as node:
        assert main(["pull", str(cohort(tmp_path)), "--kit", str(node.config.kit)]) == 0
        assert [(pull.state, pull.here) for pull in command.pulls(node.config)] == [("done", 3)]
        assert until(node.drained)
        number, destination = (95, WEB) if method == "dicomweb" else (96, "ORTHANC")
        (result,) = study(number, slices=1)
        result.save_as(tmp_path / "result.dcm", enforce_file_format=True)
        assert main(["send", str(tmp_path / "result.dcm"), "--to", destination, "--kit", str(node.config.kit)]) == 0
        found = requests.post(f"{hospital.pacs.url}/tools/lookup", data=result.SOPInstanceUID, timeout=30).json()
        assert [entry["Type"] for entry in found] == ["Instance"]


def cohort(folder: Path) -> Path:
    file = folder / "cohort.yaml"
    file.write_text("body_part: CHEST\nmodality: CT\naccession: ACC-1\n")
    return file


@pytest.mark.parametrize("method", ["c-get", "dicomweb"])
def test_without_tls_or_with_a_certificate_nobody_vouches_for_nothing_is_asked(
    tmp_path: Path, authority: Authority, hospital: Hospital, method: str
) -> None:
    config = Node(tmp_path / "kit", **sections(authority, hospital, method, tls=False)).config
    with pytest.raises(PullError) as raised:
        command.find(config, CHEST)
    assert raised.value.reason is PullReason.UNREACHABLE
