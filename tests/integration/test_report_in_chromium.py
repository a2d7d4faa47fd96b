"""The report in a real browser, offline and without scripts: it lays out, and its plots are painted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from demo.report import write_report
from tests.unit.demo.sample import make_result

pytestmark = pytest.mark.integration

WIDTHS = {"desktop": 1200, "phone": 390}
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # whatever it would load from elsewhere is not there
)


def chromium(profile: Path, page: Path, *flags: str) -> str:
    """Open ``page`` and return what Chromium wrote to its output."""
    program = shutil.which("chromium")
    assert program, "chromium is missing: apt-get install chromium"
    done = subprocess.run(
        [program, *_FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(make_result(), path)
    return path


def test_the_plots_are_in_the_document(report: Path, tmp_path: Path) -> None:
    dom = chromium(tmp_path, report, "--dump-dom")
    for name in ("plot-scores", "plot-loss", "plot-accuracy", "plot-seconds"):
        drawing = re.search(rf'<svg[^>]*id="{name}".*?</svg>', dom, re.DOTALL)
        assert drawing, name
        assert drawing[0].count("<path") > 5, name
    assert dom.count("<img") == len(make_result().crops)
    assert dom.count('<table class="matrix"') == 15


@pytest.mark.parametrize("device", WIDTHS)
def test_it_is_painted_and_fits_the_width(report: Path, tmp_path: Path, device: str) -> None:
    picture = tmp_path / "page.png"
    width, height = WIDTHS[device], 7000
    chromium(tmp_path / "profile", report, f"--screenshot={picture}", f"--window-size={width},{height}")
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    assert pixels.shape == (height, width, 3)
    background = pixels[2, 2]
    painted = np.abs(pixels - background).max(axis=2) > 40
    assert 0.02 < painted.mean() < 0.6
    # Nothing sticks out of the page: its outermost columns are margin all the way down.
    assert not painted[:, -6:].any()
    # The colours of the hospitals, the federation and a wrong answer reach the screen.
    for color in ("#c14e00", "#007d5c", "#641a5e", "#0063a6"):
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        assert (np.abs(pixels - wanted).max(axis=2) < 12).sum() > 50, color
