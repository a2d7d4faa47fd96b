from __future__ import annotations

import datetime
import gzip
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from observability.exposition import Access, Endpoint
from observability.http import EndpointError


class One:
    def collect(self) -> Iterable[Metric]:
        yield GaugeMetricFamily("fedpacs_one", "one", value=1)


class Broken:
    def collect(self) -> Iterable[Metric]:
        raise OSError("disk gone, patient DOE^JANE")


@pytest.fixture
def serve() -> Iterator:
    running: list[Endpoint] = []

    def start(access: Access | None = None, port: int = 0, **collectors: object) -> Endpoint:
        endpoint = Endpoint("127.0.0.1", port, collectors or {"one": One()}, access)  # type: ignore[arg-type]
        endpoint.start()
        running.append(endpoint)
        return endpoint

    yield start
    for endpoint in running:
        endpoint.stop()


def get(url: str, context: ssl.SSLContext | None = None, **headers: str) -> tuple[bytes, dict[str, str]]:
    request = urllib.request.Request(url, headers={k.replace("_", "-"): v for k, v in headers.items()})  # noqa: S310
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:  # noqa: S310
        return answer.read(), dict(answer.headers)


def test_text_openmetrics_and_gzip(serve) -> None:
    endpoint = serve()
    body, headers = get(endpoint.url)
    assert headers["Content-Type"].startswith("text/plain")
    assert "fedpacs_one" in {family.name for family in parse_text(body.decode())}
    body, headers = get(endpoint.url, Accept="application/openmetrics-text; version=1.0.0", Accept_Encoding="gzip")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert "fedpacs_one" in {family.name for family in parse_openmetrics(gzip.decompress(body).decode())}


def test_a_broken_part_hides_neither_the_others_nor_itself_and_tells_nothing(serve) -> None:
    body = get(serve(one=One(), disk=Broken()).url)[0].decode()
    assert "fedpacs_one 1.0" in body
    assert 'fedpacs_scrape_collector_failed{collector="disk"} 1.0' in body
    assert 'fedpacs_scrape_collector_failed{collector="one"} 0.0' in body
    assert "DOE" not in body


def test_port_in_use_names_cause_and_cure(serve) -> None:
    first = serve()
    with pytest.raises(EndpointError, match=rf"port {first.port} on 127.0.0.1 is in use.*set metrics.port"):
        serve(port=first.port)


def test_a_foreign_address_names_cause_and_cure() -> None:
    with pytest.raises(EndpointError, match="no address of this machine"):
        Endpoint("192.0.2.1", 0, {"one": One()}).start()


def test_the_port_is_free_again_after_stop(serve) -> None:
    endpoint = serve()
    port = endpoint.port
    endpoint.stop()
    endpoint.stop()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("access", "good"),
    [
        (Access(bearer="t0ken"), "Bearer t0ken"),
        (Access(username="prometheus", password="pass"), "Basic cHJvbWV0aGV1czpwYXNz"),
    ],
)
def test_credentials(serve, access: Access, good: str) -> None:
    url = serve(access).url
    assert b"fedpacs_one" in get(url, Authorization=good)[0]
    for bad in ("", "Bearer", "Bearer t0ke", "Basic cHJvbWV0aGV1czpwYXN6"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(url, Authorization=bad)
        assert refused.value.code == 401


def test_other_paths_and_methods(serve) -> None:
    url = serve().url
    with pytest.raises(urllib.error.HTTPError) as missing:
        get(url.replace("/metrics", "/"))
    assert missing.value.code == 404
    with pytest.raises(urllib.error.HTTPError) as posted:
        urllib.request.urlopen(url, data=b"x", timeout=5)  # noqa: S310
    assert posted.value.code == 405


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    crt, pem = tmp_path / "c.crt", tmp_path / "c.key"
    crt.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return crt, pem


def test_tls_and_a_client_that_says_nothing_blocks_nobody(serve, pair: tuple[Path, Path]) -> None:
    endpoint = serve(Access(certificate=pair[0], private_key=pair[1]))
    with socket.create_connection(("127.0.0.1", endpoint.port)):  # connected, no handshake
        context = ssl.create_default_context(cafile=str(pair[0]))
        body, _ = get(endpoint.url.replace("127.0.0.1", "localhost"), context)
    assert b"fedpacs_one" in body


def test_unreadable_tls_files_name_the_cure(pair: tuple[Path, Path]) -> None:
    with pytest.raises(EndpointError, match="give a PEM certificate"):
        Endpoint("127.0.0.1", 0, {"one": One()}, Access(certificate=pair[1], private_key=pair[1])).start()
