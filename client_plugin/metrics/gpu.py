"""GPUs, when there are any: what ``nvidia-smi`` says, asked beside the scrape."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics_core import GaugeMetricFamily, Metric

FIELDS = ("index", "utilization.gpu", "memory.used", "memory.total", "temperature.gpu")
TIMEOUT = 10.0
MIB = 1 << 20


@dataclass(frozen=True)
class Gpu:
    """One GPU; values that the driver does not tell are None.

    Parameters
    ----------
    busy
        Share of the time that it computed, 0 to 1.
    used, total
        Memory in bytes.
    celsius
        Temperature.
    """

    number: int
    busy: float | None
    used: float | None
    total: float | None
    celsius: float | None


def parse(text: str) -> list[Gpu]:
    """The lines of ``nvidia-smi --format=csv,noheader,nounits``; a line of another form is left out."""
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split(",")]
        if len(cells) != len(FIELDS) or not cells[0].isdigit():
            continue
        busy, used, total, celsius = (_number(cell) for cell in cells[1:])
        found.append(
            Gpu(
                number=int(cells[0]),
                busy=None if busy is None else busy / 100,
                used=None if used is None else used * MIB,
                total=None if total is None else total * MIB,
                celsius=celsius,
            )
        )
    return found


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None  # "[N/A]", "[Not Supported]"


class Gpus:
    """A collector; shows nothing where ``nvidia-smi`` is not installed."""

    def __init__(self) -> None:
        self._program = shutil.which("nvidia-smi")

    def collect(self) -> Iterator[Metric]:
        if self._program is None:
            return
        query = [self._program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
        answer = subprocess.run(query, capture_output=True, text=True, timeout=TIMEOUT, check=True)
        yield from as_metrics(parse(answer.stdout))


def as_metrics(gpus: list[Gpu]) -> Iterator[Metric]:
    """The GPUs as gauges by their number."""
    families = {
        "busy": ("fedpacs_gpu_utilization_ratio", "Share of the time that the GPU computed"),
        "used": ("fedpacs_gpu_memory_used_bytes", "Memory of the GPU in use"),
        "total": ("fedpacs_gpu_memory_bytes", "Memory of the GPU"),
        "celsius": ("fedpacs_gpu_temperature_celsius", "Temperature; near its limit the GPU slows down"),
    }
    for attribute, (name, help_text) in families.items():
        family = GaugeMetricFamily(name, help_text, labels=["gpu"])
        for gpu in gpus:
            value = getattr(gpu, attribute)
            if value is not None:
                family.add_metric([str(gpu.number)], value)
        if family.samples:
            yield family
