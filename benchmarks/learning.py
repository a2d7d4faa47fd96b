"""Does taking part pay? Federated averaging beside each hospital alone and all data in one place, over several seeds.

``make bench-learning``, or ``python -m benchmarks.learning [--quick]``. The demo's three studies are archived and
trained on as its job does, in one process and in clear: encryption changes a sum by less than its last digit. All
models take the same number of optimiser steps from the same start. ``--quick`` trains one seed for six rounds.

Three patients, each held out by a contiguous slab of the same body: the figures say that the federation works, not
how it would do on other patients; and the recipe was chosen while looking at them.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from statistics import fmean, median

import numpy as np
import torch
from monai.transforms import Compose, RandAdjustContrast, RandAffine, RandGaussianNoise, RandShiftIntensity

from benchmarks import results
from client_plugin.archive.archive import Archive
from client_plugin.archive.instance import ArchivedInstance
from client_plugin.config import NodeConfig
from client_plugin.learning.augment import augment
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.training import LocalTrainer, Weights
from demo.compare import Hospitals, compare
from demo.data import DataFolder, fetch
from demo.result import Verdict
from demo.studies import SITES, instances

SEEDS = (0, 1, 2)
_CACHE = Path(__file__).parents[1] / ".demo" / "cache"


def archive_studies(folder: Path, data: DataFolder) -> dict[str, Path]:
    """A kit for each hospital with its study archived. Not de-identified: that leaves CT pixels as they are."""
    kits = {}
    for site in SITES:
        kit = folder / site
        (kit / "local").mkdir(parents=True)
        (kit / "local" / "fedpacs.yaml").write_text(f"site: hospital-{site}\n", encoding="utf-8")
        archive = Archive.open(NodeConfig.load(kit))
        for dataset in instances(site, data):
            buffer = BytesIO()
            dataset.save_as(buffer, enforce_file_format=True)
            archive.add(buffer.getvalue(), ArchivedInstance.from_dataset(dataset, f"PATIENT-{site}"))
        archive.catalogue.seal_quiet_studies(timedelta(0), datetime.now(UTC) + timedelta(minutes=1))
        archive.close()
        kits[f"hospital-{site}"] = kit
    return kits


def federate(trainers: list[LocalTrainer], rounds: int) -> Weights:
    """Plain federated averaging, weighted by images (McMahan et al., AISTATS 2017)."""
    weights = trainers[0].initial_weights()
    with ThreadPoolExecutor(2) as pool:
        for number in range(rounds):
            done = list(pool.map(lambda trainer, n=number, w=weights: trainer.train_round(w, n), trainers))  # type: ignore[misc]
            total = sum(one.images for one in done)
            weights = {
                name: np.sum([one.weights[name] * (one.images / total) for one in done], axis=0, dtype=np.float32)
                for name in weights
            }
    return weights


def one_seed(kits: Mapping[str, Path], config: LearningConfig) -> Verdict:
    """All models of one seed, judged on all slabs."""
    hospitals = Hospitals.open(kits, config)
    trainers = [hospitals.trainer(site) for site in hospitals.data]
    verdict = Verdict.of(compare(hospitals, federate(trainers, config.training.rounds)).models)
    if verdict is None:
        raise RuntimeError("a kind of model is missing from the comparison")
    return verdict


def augmentation_ms(images: torch.Tensor, repeats: int) -> tuple[float, float]:
    """Milliseconds to augment the batch: ours on the whole batch, and MONAI's random transforms image by image."""
    generator = torch.Generator().manual_seed(0)
    single = Compose(
        [
            RandAffine(prob=1, rotate_range=0.17, scale_range=(0.15, 0.15), translate_range=(3, 3), cache_grid=True),
            RandAdjustContrast(prob=1, gamma=(0.78, 1.28)),
            RandShiftIntensity(prob=1, offsets=0.08),
            RandGaussianNoise(prob=1, std=0.03),
        ]
    )
    ways: tuple[Callable[[], object], ...] = (
        lambda: augment(images, 1.0, generator),
        lambda: torch.stack([torch.as_tensor(single(image)) for image in images]),
    )
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for way, seconds in zip(ways, taken, strict=True):
            started = time.process_time()
            way()
            if repeat:  # the first one warms up
                seconds.append((time.process_time() - started) * 1000)
    return median(taken[0]), median(taken[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, six rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    folder = results.work() / "learning"
    shutil.rmtree(folder, ignore_errors=True)
    kits = archive_studies(folder, fetch(Path(os.environ.get("FEDPACS_DATA", _CACHE))))
    training = {"rounds": 6} if quick else {}
    verdicts = []
    for seed in SEEDS[:1] if quick else SEEDS:
        verdicts.append(one_seed(kits, LearningConfig.from_job({"training": {**training, "seed": seed}})))
        print(f"seed {seed}: {verdicts[-1].model_dump_json()}", flush=True)
    ours, monai = augmentation_ms(torch.rand(64, 1, 48, 48), 5 if quick else 20)
    federation = fmean(verdict.federation for verdict in verdicts)
    figures = [
        results.Figure(
            figure="balanced accuracy, three slabs",
            ours=round(federation, 3),
            peer=round(fmean(verdict.alone for verdict in verdicts), 3),
            peer_name="the hospitals alone, mean",
            unit="recall",
            required=None if quick else 1.0,
        ),
        results.Figure(
            figure="the same, beside one place",
            ours=round(federation, 3),
            peer=round(fmean(verdict.pooled or 0.0 for verdict in verdicts), 3),
            peer_name="all data pooled",
            unit="recall",
        ),
        results.Figure(
            figure="seeds on which the federation is ahead",
            ours=sum(verdict.federation_beats_alone for verdict in verdicts),
            peer=len(verdicts),
            peer_name="seeds",
            unit="seeds",
        ),
        results.Figure(
            figure="augmenting 64 crops, one core",
            ours=round(ours, 2),
            peer=round(monai, 2),
            peer_name="MONAI's random transforms, image by image",
            unit="ms",
            lower_is_better=True,
        ),
    ]
    name = "learning-quick" if quick else "learning"
    results.save(
        name,
        figures,
        ("monai", "torch", "numpy"),
        seeds=[verdict.model_dump() for verdict in verdicts],
        patients=len(SITES),
        peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )
    print(results.table(figures))
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
