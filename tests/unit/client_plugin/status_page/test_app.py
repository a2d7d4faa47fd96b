from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
from flask.testing import FlaskClient

from client_plugin.status_page.app import application
from client_plugin.status_page.model import (
    Alert,
    Arrival,
    EndedAlert,
    Job,
    Problem,
    Round,
    SetAside,
    Status,
    Study,
    Waiting,
)

NOW = datetime(2026, 3, 4, 15, 0, tzinfo=UTC)
FULL = Status(
    site="site-a",
    at=NOW,
    problems=(Problem("Received images are not processed", "See IngestStalled."),),
    arrivals=(Arrival("PACS", 120, 3, 1),),
    studies=(Study("9f86d081884c7d65", ("CT", "SEG"), 2, 90, "sealed", NOW),),
    waiting=(Waiting(3, "received instances", "an intake worker", NOW),),
    set_aside=(SetAside("burned-in-text", "PACS", 1, NOW, "Have the modality export without it."),),
    job=Job("job-1", True, tuple(Round(n, 2 / n, n / 10, 12.5, ("site-a", "site-b")) for n in range(1, 6)), NOW),
    alerts=(Alert("DiskLow", "page", "The storage of site-a is nearly full", NOW),),
    alerts_note="",
    ended=(EndedAlert("PacsUnreachable", "ticket", NOW - timedelta(hours=3), NOW - timedelta(hours=2)),),
    ended_note="",
)
EMPTY = Status("site-a", NOW, (), (), (), (), (), None, None, "No Alertmanager is configured.", None, "No Prometheus.")


def client(status: Status = FULL, names: tuple[str, ...] = ()) -> FlaskClient:
    return application(lambda: status, names).test_client()


class Outline(HTMLParser):
    """Headings, landmarks, tables and ids of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag in names]


def test_everything_is_on_the_page() -> None:
    html = client().get("/").text
    for text in (
        "Received images are not processed", "120", "9f86d081884c", "CT, SEG", "an intake worker", "burned-in-text",
        "Have the modality export without it.", "Running job", "job-1", "DiskLow", "nearly full",
        "PacsUnreachable", "12:00, 04 March", "13:00, 04 March",
    ):  # fmt: skip
        assert text in html
    assert html.count("<polyline") == 2


def test_an_empty_page_says_so_in_each_section() -> None:
    html = client(EMPTY).get("/").text
    for text in ("None: the node runs", "Nothing has arrived today", "Nothing waits", "Empty.", "No job has trained"):
        assert text in html
    assert "No Alertmanager is configured." in html
    assert "No Prometheus." in html
    assert "<table" not in html


@pytest.mark.parametrize("status", [FULL, EMPTY], ids=["full", "empty"])
def test_structure_for_keyboard_and_screen_reader(status: Status) -> None:
    html = client(status).get("/").text
    outline = Outline(html)
    assert outline.all("html")[0]["lang"] == "en"
    assert len(outline.all("h1")) == len(outline.all("main")) == len(outline.all("nav")) == 1
    ids = [attributes["id"] for _, attributes in outline.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = [str(a["href"])[1:] for a in outline.all("a") if str(a["href"]).startswith("#")]
    assert set(targets) <= set(ids)
    assert outline.all("a")[0]["class"] == "skip"
    assert all(section["aria-labelledby"] in ids for section in outline.all("section"))
    assert html.count("<table") == html.count("<caption")
    assert all(header["scope"] in ("col", "row") for header in outline.all("th"))
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in outline.all("svg"))


def test_no_script_no_style_no_foreign_address() -> None:
    html = client().get("/").text
    outline = Outline(html)
    assert not outline.all("script", "img", "iframe", "form", "style")
    assert not any("style" in attributes or "onclick" in attributes for _, attributes in outline.tags)
    assert "http://" not in html
    assert "https://" not in html


def test_headers() -> None:
    headers = client().get("/").headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert "Refresh" not in headers
    assert client().get("/?refresh=on").headers["Refresh"] == "30"
    assert client().get("/style.css").mimetype == "text/css"


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_read_only(method: str) -> None:
    assert getattr(client(), method)("/").status_code == 405


@pytest.mark.parametrize(
    ("host", "code"),
    [("localhost:9466", 200), ("127.0.0.1", 200), ("[::1]:9466", 200), ("node.hospital", 200), ("evil.example", 421)],
)
def test_only_under_its_own_names(host: str, code: int) -> None:
    assert client(names=("node.hospital",)).get("/", headers={"Host": host}).status_code == code


def test_what_comes_from_outside_is_escaped() -> None:
    hostile = replace(FULL, arrivals=(Arrival("<script>alert(1)</script>", 1, 0, 0),))
    html = client(hostile).get("/").text
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
