"""Does taking part pay? Models trained by one hospital alone, and by all data in one place, beside the federation's.

Only the demo can do this: it owns all three hospitals, which run on one machine. No hospital and no server could, for
a pooled model needs what the federation exists to avoid. Samples are cut once per hospital and stay in memory.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from client_plugin.archive.archive import Archive
from client_plugin.archive.cohorts import CohortQuery, freeze
from client_plugin.config import NodeConfig
from client_plugin.learning.bundle import read_weights
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import Samples, TaskData
from client_plugin.learning.tasks.classification import pool
from client_plugin.learning.training import LocalTrainer, Weights, prepare
from demo.result import Crop, CurvePoint, Evaluation, ModelResult, Score

COHORT = CohortQuery(modality=("CT",), labels="SEG")
BUNDLE, ROUNDS_FILE = "bundle", "rounds.jsonl"  # what the executor leaves in the folder of a job
_CROPS_PER_SLAB = 6
_MEASUREMENTS = 3  # of the accuracy along a curve: each of them looks at every held-out image

Progressed = Callable[[str, int, int, float], object]
"""Called with the model's name, rounds done, rounds in all and the last loss."""


@dataclass(frozen=True)
class Hospitals:
    """All hospitals' samples, cut once."""

    config: LearningConfig
    data: Mapping[str, TaskData]

    @classmethod
    def open(cls, kits: Mapping[str, Path], config: LearningConfig) -> Hospitals:
        """Read each hospital's archive.

        Parameters
        ----------
        kits
            Site name to the folder of its NVFlare kit.
        """
        data = {}
        for site, kit in kits.items():
            archive = Archive.open(NodeConfig.load(kit))
            try:
                studies = freeze(archive.catalogue, COHORT).studies
                data[site] = prepare(open_task(config), archive, studies)
            finally:
                archive.close()
        return cls(config, data)

    def trainer(self, *sites: str) -> LocalTrainer:
        """A trainer on the training images of one hospital, or of several as if they were one."""
        training = pool([self.data[site].training for site in sites])
        held_out = pool([self.data[site].held_out for site in self.data])
        return LocalTrainer(open_task(self.config), TaskData(training, held_out), self.config)


@dataclass(frozen=True)
class Trained:
    """A model of the comparison and its learning curve."""

    weights: Weights
    curve: tuple[CurvePoint, ...]


def train(
    hospitals: Hospitals, sites: Sequence[str], progressed: Callable[[int, int, float], object] | None = None
) -> Trained:
    """The federation's recipe without the federation: as many rounds of as many steps, from the same start."""
    trainer = hospitals.trainer(*sites)
    rounds = hospitals.config.training.rounds
    measured = {round(rounds * part / _MEASUREMENTS) - 1 for part in range(1, _MEASUREMENTS + 1)}
    weights, curve = trainer.initial_weights(), []
    for number in range(rounds):
        result = trainer.train_round(weights, number)
        weights = result.weights
        accuracy = None
        if number in measured:
            accuracy = fmean(score.balanced_accuracy for score in scores(hospitals, trainer.outputs(weights)))
        curve.append(CurvePoint(round=number + 1, loss=result.loss, balanced_accuracy=accuracy))
        if progressed is not None:
            progressed(number + 1, rounds, result.loss)
    return Trained(weights, tuple(curve))


def scores(hospitals: Hospitals, outputs: torch.Tensor) -> tuple[Score, ...]:
    """Outputs for all held-out images, judged hospital by hospital."""
    task = open_task(hospitals.config)
    found = []
    for (site, data), part in zip(hospitals.data.items(), _by_hospital(hospitals, outputs), strict=True):
        judged = task.evaluate(part, data.held_out)
        confusion = tuple(tuple(row) for row in judged.confusion.tolist())
        found.append(Score(slab=site, patients=judged.patients, confusion=confusion))
    return tuple(found)


def compare(
    hospitals: Hospitals,
    federation: Weights | None,
    curve: tuple[CurvePoint, ...] = (),
    progressed: Progressed | None = None,
    workers: int = 2,
) -> Evaluation:
    """Train every model of the comparison and judge all of them on every hospital's held-out slab.

    Parameters
    ----------
    federation
        Final weights of the federation's model; None to compare only the others.
    curve
        Its learning curve.
    workers
        Models trained at a time, each on one core: PyTorch's operations release the interpreter.
    """
    sites = tuple(hospitals.data)
    plan = {f"{site} alone": (site,) for site in sites} | {"pooled data": sites}
    torch.set_num_threads(1)

    def run(name: str) -> Trained:
        report = None if progressed is None else (lambda done, of, loss: progressed(name, done, of, loss))
        return train(hospitals, plan[name], report)

    with ThreadPoolExecutor(workers) as pool_of_threads:
        trained = dict(zip(plan, pool_of_threads.map(run, plan), strict=True))
    judge = hospitals.trainer(*sites)
    models = [
        ModelResult(
            name=name,
            kind="alone" if len(plan[name]) == 1 else "pooled",
            trained_on=plan[name],
            scores=scores(hospitals, judge.outputs(model.weights)),
            curve=model.curve,
        )
        for name, model in trained.items()
    ]
    examples: tuple[Crop, ...] = ()
    if federation is not None:
        outputs = judge.outputs(federation)
        model = ModelResult(
            name="federation",
            kind="federation",
            trained_on=sites,
            scores=scores(hospitals, outputs),
            curve=curve,
        )
        models.insert(len(sites), model)
        examples = example_crops(hospitals, outputs)
    return Evaluation(classes=judge.task.classes, models=tuple(models), crops=examples)


def example_crops(hospitals: Hospitals, outputs: torch.Tensor) -> tuple[Crop, ...]:
    """Some held-out crops of each hospital with what the model said: right ones and wrong ones, many classes."""
    classes = open_task(hospitals.config).classes
    chosen = []
    for (site, data), part in zip(hospitals.data.items(), _by_hospital(hospitals, outputs), strict=True):
        confidence, prediction = part.softmax(dim=1).max(dim=1)
        for index in _spread(data.held_out, prediction):
            chosen.append(
                Crop(
                    slab=site,
                    plane=data.held_out.planes[index],
                    truth=classes[int(data.held_out.targets[index])],
                    prediction=classes[int(prediction[index])],
                    confidence=float(confidence[index]),
                    png=_png(data.held_out.images[index, 0].numpy()),
                )
            )
    return tuple(chosen)


def _by_hospital(hospitals: Hospitals, outputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return outputs.split([len(data.held_out) for data in hospitals.data.values()])


def _spread(samples: Samples, prediction: torch.Tensor) -> list[int]:
    """Half right and half wrong, each class once before any comes again; the same choice on every run."""
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    right = [i for i in order if prediction[i] == samples.targets[i]]
    wrong = [i for i in order if prediction[i] != samples.targets[i]]
    halves = [_one_of_each(samples, half) for half in (right, wrong)]
    first = halves[0][: max(_CROPS_PER_SLAB // 2, _CROPS_PER_SLAB - len(wrong))]
    return first + halves[1][: _CROPS_PER_SLAB - len(first)]


def _one_of_each(samples: Samples, indices: Sequence[int]) -> list[int]:
    """Reorder: the first of each class, then the second of each, and so on."""
    seen: dict[int, int] = {}
    ranked = []
    for position, index in enumerate(indices):
        label = int(samples.targets[index])
        seen[label] = seen.get(label, 0) + 1
        ranked.append((seen[label], position, index))
    return [index for _, _, index in sorted(ranked)]


def _png(image: NDArray[np.float32]) -> str:
    buffer = io.BytesIO()
    Image.fromarray((image * 255).round().astype(np.uint8)).save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def federation_curve(folders: Sequence[Path]) -> tuple[CurvePoint, ...]:
    """Mean over the hospitals of what each wrote down about its rounds, in the folder of the job at the hospital."""
    rows: dict[int, list[dict[str, float]]] = {}
    for folder in folders:
        for line in (folder / ROUNDS_FILE).read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows.setdefault(int(row["round"]), []).append(row)
    # A hospital judges the model that it starts a round with: that is the model after the round before.
    accuracies = {number - 1: fmean(row["balanced_accuracy"] for row in found) for number, found in rows.items()}
    return tuple(
        CurvePoint(round=number, loss=fmean(row["loss"] for row in found), balanced_accuracy=accuracies.get(number))
        for number, found in sorted(rows.items())
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the federation's model with those of its hospitals, whose kits are all on this machine."""
    parser = argparse.ArgumentParser(prog="python -m demo.compare", description=main.__doc__)
    parser.add_argument("kits", nargs="+", type=Path, help="NVFlare kit of each hospital")
    parser.add_argument("--job", help="ID of the job whose model is compared (default: only the others)")
    parser.add_argument("--rounds", type=int, help="rounds that the job ran")
    parser.add_argument("--learning", type=Path, help="JSON file with the job's learning arguments")
    parser.add_argument("--out", type=Path, help="write the evaluation here, as JSON")
    options = parser.parse_args(arguments)
    console = Console()
    config = _config(options.learning, options.rounds)
    kits = {NodeConfig.load(kit).site: kit for kit in options.kits}
    folders = [NodeConfig.load(kit).models / options.job for kit in options.kits] if options.job else []
    hospitals = Hospitals.open(kits, config)
    with _bars(console) as progress:
        tasks: dict[str, TaskID] = {}

        def progressed(name: str, done: int, of: int, loss: float) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=of, loss=loss)
            progress.update(tasks[name], completed=done, loss=loss)

        federation = read_weights(folders[0] / BUNDLE) if folders else None
        evaluation = compare(hospitals, federation, federation_curve(folders), progressed)
    for model in evaluation.models:
        parts = ", ".join(f"{score.slab} {score.balanced_accuracy:.3f} ({score.images})" for score in model.scores)
        console.print(f"{model.name}: {model.mean_balanced_accuracy:.3f} = {parts}", highlight=False, soft_wrap=True)
    if options.out:
        options.out.write_text(evaluation.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


def _config(learning: Path | None, rounds: int | None) -> LearningConfig:
    given = json.loads(learning.read_text(encoding="utf-8")) if learning else {}
    if rounds is not None:
        given = {**given, "training": {**given.get("training", {}), "rounds": rounds}}
    return LearningConfig.from_job(given)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description:24}"), BarColumn(), TextColumn("loss {task.fields[loss]:.3f}"))
    return Progress(*columns, TimeElapsedColumn(), console=console)


if __name__ == "__main__":
    sys.exit(main())
