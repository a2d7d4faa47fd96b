"""A DICOMweb server that misbehaves, over a real socket. Orthanc's is in tests/integration/dicom."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydicom.data import get_testdata_file

from client_plugin.config import NodeConfig
from client_plugin.dicom.pull.dicomweb import WebSource
from client_plugin.dicom.pull.query import PullQuery
from client_plugin.dicom.pull.source import PullError, PullReason, Watch
from client_plugin.dicom.status import StoreStatus

Answer = Callable[[BaseHTTPRequestHandler], None]
CT = PullQuery(modality=("CT",))
FILE = Path(get_testdata_file("CT_small.dcm")).read_bytes()
UID = "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"
END = threading.Event()


@pytest.fixture
def serve() -> Iterator[Callable[[Answer], str]]:
    """Start a server that answers every GET in one way; gives its URL."""
    servers = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer(self)

            def log_message(self, *_: Any) -> None:
                """Silence."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/dicom-web"

    yield start
    END.set()
    for server in servers:
        server.shutdown()
        server.server_close()
    END.clear()


class KeepingStore:
    """Takes everything; the real one is in tests/integration/dicom."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def begin(self, _origin: object) -> "KeepingStore":
        return self

    def write(self, data: bytes) -> None:
        self.kept.append(data)

    def answer(self, _sink: object, _syntax: str) -> StoreStatus:
        return StoreStatus.SUCCESS


def source(url: str, tmp_path: Path, store: KeepingStore | None = None, **pull: Any) -> WebSource:
    section = {"method": "dicomweb", "dicomweb_url": url, "stall_seconds": 0.5, **pull}
    config = NodeConfig.model_validate({"site": "a", "kit": tmp_path, "pull": section})
    return WebSource(config, "WEB", store or KeepingStore())  # type: ignore[arg-type]


def reply(status: int, body: bytes = b"", kind: str = "application/dicom+json", length: int | None = None) -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Content-Type", kind)
        request.send_header("Content-Length", str(len(body) if length is None else length))
        request.end_headers()
        request.wfile.write(body)

    return answer


def multipart(*parts: bytes) -> bytes:
    head = b"\r\n--X\r\nContent-Type: application/dicom\r\n\r\n"
    return b"".join(head + part for part in parts) + b"\r\n--X--\r\n"


MULTIPART = 'multipart/related; type="application/dicom"; boundary=X'


def reason(action: Callable[[], object]) -> PullReason:
    with pytest.raises(PullError) as raised:
        action()
    return raised.value.reason


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, PullReason.NOT_AUTHORISED),
        (404, PullReason.NOT_FOUND),
        (406, PullReason.NOT_SUPPORTED),
        (500, PullReason.FAILED),
        (503, PullReason.OUT_OF_RESOURCES),
    ],
)
def test_http_statuses(serve: Callable[[Answer], str], tmp_path: Path, status: int, expected: PullReason) -> None:
    web = source(serve(reply(status)), tmp_path)
    assert reason(lambda: list(web.find(CT))) is expected
    assert reason(lambda: web.retrieve("1.2.3", {}, Watch())) is expected


def test_a_server_that_ignores_the_offset_is_asked_twice_and_no_more(
    serve: Callable[[Answer], str], tmp_path: Path
) -> None:
    asked = []
    page = [{"0020000D": {"vr": "UI", "Value": [f"1.2.{n}"]}} for n in range(200)]

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.path)
        reply(200, json.dumps(page).encode())(request)

    web = source(serve(answer), tmp_path)
    assert len(list(web.find(PullQuery(patient_id=("P1",))))) == 200
    assert len(asked) == 2


def test_the_token_is_sent(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    seen = []

    def answer(request: BaseHTTPRequestHandler) -> None:
        seen.append(request.headers["Authorization"])
        reply(200, b"[]")(request)

    (tmp_path / "token").write_text("secret\n")
    web = source(serve(answer), tmp_path, dicomweb_token_file="token")
    assert list(web.find(PullQuery(patient_id=("P1",)))) == []
    assert seen == ["Bearer secret"]


def test_only_what_is_missing_is_kept_as_it_was_encoded(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    url, store = serve(reply(200, multipart(FILE), MULTIPART)), KeepingStore()
    source(url, tmp_path, store).retrieve("1.2.3", {}, Watch())
    assert store.kept == []
    source(url, tmp_path, store).retrieve("1.2.3", {UID: "1.2"}, Watch())
    assert len(store.kept) == 1
    assert FILE.endswith(store.kept[0])


def test_a_body_that_stalls(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        reply(200, multipart(FILE)[:5000], MULTIPART, length=len(multipart(FILE)))(request)
        request.wfile.flush()
        END.wait(20)

    web = source(serve(answer), tmp_path)
    assert reason(lambda: web.retrieve("1.2.3", {UID: "1.2"}, Watch())) is PullReason.STALLED


def test_a_body_that_is_cut_off(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    body = multipart(FILE)
    web = source(serve(reply(200, body[:5000], MULTIPART, length=len(body))), tmp_path)
    assert reason(lambda: web.retrieve("1.2.3", {UID: "1.2"}, Watch())) is PullReason.LOST


def test_a_body_that_is_no_dicom(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    web = source(serve(reply(200, multipart(b"<html>login</html>"), MULTIPART)), tmp_path)
    assert reason(lambda: web.retrieve("1.2.3", {UID: "1.2"}, Watch())) is PullReason.FAILED


def test_answers_that_are_no_json(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    web = source(serve(reply(200, b"<html>login</html>")), tmp_path)
    assert reason(lambda: list(web.find(CT))) is PullReason.FAILED


def test_nobody_there(tmp_path: Path) -> None:
    web = source("http://127.0.0.1:1/dicom-web", tmp_path)
    assert reason(lambda: list(web.find(CT))) is PullReason.UNREACHABLE


def test_stopping_ends_between_two_instances(serve: Callable[[Answer], str], tmp_path: Path) -> None:
    store, watch = KeepingStore(), Watch()
    watch.stop(PullReason.STOPPED)
    web = source(serve(reply(200, multipart(FILE, FILE), MULTIPART)), tmp_path, store)
    assert reason(lambda: web.retrieve("1.2.3", {UID: "1.2"}, watch)) is PullReason.STOPPED
    assert store.kept == []
