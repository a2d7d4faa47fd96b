"""The report's colours: legible on light and dark (WCAG 2.2, 1.4.3), and told apart by colour-blind readers."""

from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations

import numpy as np
import numpy.typing as npt
import pytest

CSS = (files("demo.report") / "templates" / "report.css").read_text()
TEXT = ("ink", "muted", "federation", "pooled", "good", "bad", "site-0", "site-1", "site-2", "site-3", "site-4")
# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision Deficiency",
# IEEE TVCG 2009, severity 1: linear RGB to linear RGB.
DEFICIENCIES = {
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


def theme(name: str) -> dict[str, str]:
    light, dark = (m[1] for m in re.finditer(r":root \{(.*?)\}", CSS, re.DOTALL) if "--ink" in m[1])
    values = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    return values if name == "light" else values | dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", dark))


def linear(color: str) -> npt.NDArray[np.float64]:
    srgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    light, dark = sorted((float(linear(c) @ (0.2126, 0.7152, 0.0722)) for c in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIE L*a*b* of linear sRGB, white D65."""
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb.clip(0, 1)
    x, y, z = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("name", ["light", "dark"])
def test_everything_written_in_a_colour_is_legible(name: str) -> None:
    colors = theme(name)
    for variable in TEXT:
        assert contrast(colors[variable], colors["paper"]) >= 4.5, variable
    assert contrast(colors["ink"], colors["note"]) >= 7


@pytest.mark.parametrize("name", ["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_three_hospitals_and_the_federation_differ_for_a_colour_blind_reader(name: str, deficiency: str) -> None:
    colors = theme(name)
    seen = {
        variable: lab(np.array(DEFICIENCIES[deficiency]) @ linear(colors[variable]))
        for variable in ("federation", "site-0", "site-1", "site-2")
    }
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(seen[one] - seen[other]) > 20, (one, other)
