"""What every benchmark leaves behind: ``benchmarks/results/NAME.json`` and the same as a table.

The file holds ``figures``, a list of ``{"figure", "ours", "peer", "peer_name", "ratio", "required", "met", "unit"}``,
and what they were measured with. The README's figures are generated from these files.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """Ours against a peer's, measured in one run.

    Parameters
    ----------
    figure
        What was measured.
    ours, peer
        Medians, in ``unit``; ``peer`` is None where there is nobody to compare with.
    required
        The ratio ours/peer to reach; for ``lower_is_better`` the one not to exceed. None: for information.
    interval
        95 % confidence interval of ``ours``, where there is one.
    """

    figure: str
    ours: float
    unit: str
    peer: float | None = None
    peer_name: str = ""
    required: float | None = None
    lower_is_better: bool = False
    interval: tuple[float, float] | None = None

    @property
    def ratio(self) -> float | None:
        """Ours divided by the peer's."""
        return None if self.peer is None else round(self.ours / self.peer, 3)

    @property
    def met(self) -> bool | None:
        """Whether the requirement is met; None if there is none."""
        value = self.ratio if self.peer is not None else self.ours
        if self.required is None or value is None:
            return None
        return value <= self.required if self.lower_is_better else value >= self.required

    def as_row(self) -> dict[str, Any]:
        row = {**asdict(self), "ratio": self.ratio, "met": self.met}
        return row if self.interval else {key: value for key, value in row.items() if key != "interval"}


def work() -> Path:
    """A folder for what a benchmark writes while it runs; not committed."""
    folder = Path(__file__).parent / ".work"
    folder.mkdir(exist_ok=True)
    return folder


def machine() -> dict[str, Any]:
    """The machine that the figures belong to."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.processor(),
    )
    return {"cpu": model, "cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()}


def save(name: str, figures: Sequence[Figure], packages: Sequence[str], **details: Any) -> Path:
    """Write ``results/<name>.json``.

    Parameters
    ----------
    packages
        Distributions whose versions are recorded.
    details
        Whatever else explains the figures.
    """
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    content: Mapping[str, Any] = {
        "figures": [figure.as_row() for figure in figures],
        "machine": machine(),
        "versions": {package: version(package) for package in packages},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        **details,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def table(figures: Sequence[Figure]) -> str:
    """The figures for a terminal."""
    lines = [f"{'figure':<44}{'ours':>10}{'peer':>10}  {'ratio':>6}  {'required':>9}  peer"]
    for f in figures:
        sign = "≤" if f.lower_is_better else "≥"
        required = "" if f.required is None else f"{sign} {f.required:g}"
        verdict = {True: "met", False: "MISSED", None: ""}[f.met]
        peer = "" if f.peer is None else f"{f.peer:.4g}"
        ratio = "" if f.ratio is None else f"{f.ratio:.2f}"
        name = f"{f.figure} [{f.unit}]"
        verdict += f" (95 %: {f.interval[0]:.4g} to {f.interval[1]:.4g})" if f.interval else ""
        lines.append(f"{name:<44}{f.ours:>10.4g}{peer:>10}  {ratio:>6}  {required:>9}  {f.peer_name} {verdict}")
    return "\n".join(lines)


def _lines(path: str) -> list[str]:
    return Path(path).read_text(encoding="utf-8").splitlines() if Path(path).exists() else []
