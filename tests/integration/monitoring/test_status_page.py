"""The status page of a real node in a real browser: painted, usable by keyboard, and readable aloud."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from PIL import Image

from client_plugin.config import NodeConfig
from tests.integration.monitoring.world import PLANTED, Node, planted_ct, planted_pdf, until, write_kit

pytestmark = pytest.mark.integration

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
WIDTHS = {"desktop": 1200, "phone": 390}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node that has received, archived and quarantined, and where a job has trained."""
    folder = tmp_path_factory.mktemp("node")
    running = Node(write_kit(folder / "kit"))
    running.send(planted_ct(folder / "ct", 6))
    running.send(planted_pdf(folder / "pdf", 2))
    models = NodeConfig.load(running.kit).models / "3f0c0f5e-job"
    models.mkdir(parents=True)
    rows = [{"loss": 2.3 / n, "balanced_accuracy": 0.1 * n, "seconds": 4.0, "round": n} for n in range(1, 6)]
    (models / "rounds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (models / "sums.jsonl").write_text('{"round": 4, "sites": ["site-a", "site-c"]}\n')
    until(lambda: running.value("fedpacs_spool_instances") == 0, 60, "the workers")
    until(lambda: "unsupported-content" in running.page(), 30, "the quarantine")
    yield running
    running.stop()


def address(node: Node) -> str:
    return f"http://127.0.0.1:{node.status_port}/"


def chromium() -> str:
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium"
    return program


def test_what_a_steward_wants_to_know_is_there(node: Node) -> None:
    page = node.page()
    assert "not in its federation" in page
    assert "content that cannot be de-identified: stop the PACS from routing it here" in page
    assert "3f0c0f5e-job" in page
    assert "In the sum of round 4: site-a, site-c." in page
    assert ">PACS</th><td>6</td><td>0</td><td>2</td>" in page


def test_no_identifier_is_on_it(node: Node) -> None:
    page = node.page().upper()
    assert not [identifier for identifier in PLANTED if identifier in page]


@pytest.mark.parametrize("device", WIDTHS)
def test_it_is_painted_and_fits(node: Node, tmp_path: Path, device: str) -> None:
    picture = tmp_path / f"{device}.png"
    size = f"--window-size={WIDTHS[device]},2400"
    command = [chromium(), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", size]
    subprocess.run([*command, address(node)], check=True, capture_output=True, timeout=120)
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    painted = np.abs(pixels - pixels[2, 2]).max(axis=2) > 40
    assert 0.01 < painted.mean() < 0.5
    assert not painted[:, -4:].any()  # nothing sticks out on the right
    for colour in ((0x0A, 0x4F, 0xA8), (0xA3, 0x16, 0x0B)):  # the curve and the links; a problem
        assert (np.abs(pixels - colour).max(axis=2) < 12).sum() > 50


class Browser:
    """Chromium over its DevTools protocol: keys go in, the accessibility tree comes out."""

    def __init__(self, session: aiohttp.ClientWebSocketResponse) -> None:
        self._session = session
        self._number = 0

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        await self._session.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            answer = await self._session.receive_json()
            if answer.get("id") == self._number:
                return dict(answer["result"])

    async def evaluate(self, script: str) -> Any:
        return (await self.call("Runtime.evaluate", expression=script))["result"].get("value")


async def explore(node: Node, profile: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """What the tabulator key reaches, in order, and the accessibility tree."""
    process = subprocess.Popen(
        [chromium(), *FLAGS, f"--user-data-dir={profile}", "--remote-debugging-port=0", address(node)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        file = profile / "DevToolsActivePort"
        until(file.exists, 30, "chromium")
        port = file.read_text().splitlines()[0]
        async with aiohttp.ClientSession() as http:
            pages: list[dict[str, Any]] = []
            while not pages:
                async with http.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [each for each in await answer.json() if each["url"] == address(node)]
            async with http.ws_connect(pages[0]["webSocketDebuggerUrl"]) as session:
                browser = Browser(session)
                while not await browser.evaluate("document.readyState == 'complete' && document.title != ''"):
                    await asyncio.sleep(0.1)
                reached = []
                for _ in range(9):
                    for kind in ("keyDown", "keyUp"):
                        await browser.call(
                            "Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9
                        )
                    reached.append(await browser.evaluate("document.activeElement.textContent"))
                tree = (await browser.call("Accessibility.getFullAXTree"))["nodes"]
                return reached, tree
    finally:
        process.kill()
        process.wait()


def test_keyboard_and_screen_reader(node: Node, tmp_path: Path) -> None:
    reached, tree = asyncio.run(explore(node, tmp_path / "profile"))
    assert reached == [
        "Skip to the content", "Renew now", "every 30 seconds",
        "Problems", "Today", "Waiting", "Quarantine", "Job", "Alerts",
    ]  # fmt: skip
    said: dict[str, list[str]] = {}
    for each in tree:
        role, name = each.get("role", {}).get("value", ""), each.get("name", {}).get("value", "")
        said.setdefault(role, []).append(name)
    assert said["heading"] == [
        "site-a", "Problems", "Arrived today", "Waiting", "Quarantine", "Last job", "Alerts",
    ]  # fmt: skip
    assert len(said["main"]) == len(said["navigation"]) == len(said["banner"]) == 1
    assert "Instances set aside, sealed, and what cures the reason" in said["table"]
    assert {"Reason", "How many", "Cure"} <= set(said["columnheader"])
    assert "unsupported-content" in said["rowheader"]
    assert any("Training loss from round 1 to 5: highest 2.3, lowest 0.46" in name for name in said["image"])
