"""Does fixed point cost accuracy? ``python -m benchmarks.aggregation_accuracy [--quick]``.

The job ``organ-classification``, federated over the demo's three hospitals in one process, its means taken in clear
and through the whole protocol (``he+masks``) at 24, 21 and 16 bits, from the same seeds. Training is deterministic
for a seed, so what differs is the fixed point alone; the spread over seeds is the noise it has to stay below.
``--quick``: one seed, four rounds.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from benchmarks import results
from benchmarks.learning import archive_studies
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.training import LocalTrainer, Weights
from demo.compare import Hospitals, scores
from demo.data import fetch
from secure_aggregation.layout import Layout
from tests.unit.secure_aggregation.consortium import Consortium, settings

SEEDS = (0, 1, 2)
WAYS = (None, 24, 21, 16)
CLIP = 1.0
MAX_WEIGHT = 2048.0
_CACHE = Path(__file__).parents[1] / ".demo" / "cache"


class Averaging:
    """The weighted mean of differences, in clear (``bits`` None) or through the protocol."""

    def __init__(self, bits: int | None, start: Weights, sites: int) -> None:
        self._consortium: Consortium | None = None
        if bits is not None:
            layout = Layout.of(start)
            self._consortium = Consortium(sites, settings("he+masks", bits, CLIP, MAX_WEIGHT), layout).ceremony()

    def mean(self, step: int, updates: list[Weights], weights: list[float]) -> Weights:
        """One round."""
        if self._consortium is None:
            total = sum(weights)
            return {
                name: np.sum(
                    [u[name] * (w / total) for u, w in zip(updates, weights, strict=True)], axis=0, dtype=np.float32
                )
                for name in updates[0]
            }
        names = list(self._consortium.sites)
        opened = self._consortium.round(
            step, dict(zip(names, updates, strict=True)), dict(zip(names, weights, strict=True))
        )
        return dict(next(iter(opened.values())).tensors)


def federate(trainers: list[LocalTrainer], rounds: int, bits: int | None) -> Weights:
    """Federated averaging."""
    weights = trainers[0].initial_weights()
    averaging = Averaging(bits, weights, len(trainers))
    for number in range(rounds):
        done = [trainer.train_round(weights, number) for trainer in trainers]
        updates = [{name: one.weights[name] - weights[name] for name in weights} for one in done]
        step = averaging.mean(number, updates, [float(one.images) for one in done])
        weights = {name: value + step[name] for name, value in weights.items()}
    return weights


def accuracies(kits: Mapping[str, Path], training: Mapping[str, int]) -> dict[int | None, float]:
    """Balanced accuracy, averaged over the three slabs, of every way for one seed."""
    config = LearningConfig.from_job({"training": dict(training)})
    hospitals = Hospitals.open(kits, config)
    trainers = [hospitals.trainer(site) for site in hospitals.data]
    found = {}
    for bits in WAYS:
        weights = federate(trainers, config.training.rounds, bits)
        found[bits] = fmean(score.balanced_accuracy for score in scores(hospitals, trainers[0].outputs(weights)))
    return found


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one seed, four rounds")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    folder = results.work() / "accuracy"
    shutil.rmtree(folder, ignore_errors=True)
    kits = archive_studies(folder, fetch(Path(os.environ.get("FEDPACS_DATA", _CACHE))))
    found: dict[int | None, list[float]] = {bits: [] for bits in WAYS}
    for seed in SEEDS[:1] if quick else SEEDS:
        for bits, accuracy in accuracies(kits, {"seed": seed, **({"rounds": 4} if quick else {})}).items():
            found[bits].append(accuracy)
            print(seed, bits, round(accuracy, 4), flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    noise = 0.0 if quick else stdev(found[None])
    figures = [
        results.Figure(f"balanced accuracy, {bits} bits", fmean(found[bits]), "", fmean(found[None]), "in clear")
        for bits in WAYS
        if bits is not None
    ]
    for bits in WAYS[1:]:
        apart = abs(fmean(found[bits]) - fmean(found[None]))
        required = None if quick else noise
        figures.append(
            results.Figure(
                f"balanced accuracy, distance from clear, {bits} bits",
                apart,
                "",
                None,
                "",
                required,
                lower_is_better=True,
            )
        )
    print(results.table(figures))
    results.save(
        "aggregation-accuracy-quick" if quick else "aggregation-accuracy",
        figures,
        ["torch", "monai", "tenseal"],
        accuracies={"clear" if bits is None else str(bits): values for bits, values in found.items()},
        spread_over_seeds=noise,
    )


if __name__ == "__main__":
    main()
