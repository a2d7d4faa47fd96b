"""Local training: weights in, weights out, and nothing kept between rounds but the hospital's own samples."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from client_plugin.archive.archive import Archive
from client_plugin.archive.cohorts import StudyRef
from client_plugin.learning.config import LearningConfig, TrainingConfig
from client_plugin.learning.drift import Drift
from client_plugin.learning.evaluation import Evaluation
from client_plugin.learning.networks import Definition, build, define
from client_plugin.learning.splits import held_out_patients
from client_plugin.learning.tasks import open_task
from client_plugin.learning.tasks.base import Task, TaskData
from client_plugin.learning.volumes import Case, load_case
from client_plugin.metrics import instruments as metrics

Weights = dict[str, NDArray[np.float32]]
"""Name to values: the network's parameters in their order, then its running statistics if it has any."""

Progress = Callable[[int, int, float], object]
"""Called after each step with the number of steps done, of steps in all, and the loss."""

_EVALUATION_BATCH = 256


class NotTrainable(ValueError):  # noqa: N818 - it is the cohort that is described
    """The cohort holds nothing that this task can be trained on."""


@dataclass(frozen=True)
class RoundResult:
    """What one round of local training came to.

    Parameters
    ----------
    images
        Training images that were drawn from; the weight of this hospital in an average.
    loss
        Mean over the steps of the round, of the task alone: without a proximal term.
    learning_rate
        Of the round's steps.
    """

    weights: Weights = field(repr=False)
    images: int
    patients: int
    loss: float
    steps: int
    learning_rate: float
    seconds: float


class LocalTrainer:
    """One hospital's samples and a network that takes on whatever weights it is given.

    Parameters
    ----------
    task, data
        What is learned, and from what.
    config
        The same at every hospital.
    device
        Where the network lives.
    """

    def __init__(self, task: Task, data: TaskData, config: LearningConfig, device: str = "cpu") -> None:
        self.task, self.data, self.config = task, data, config
        self._device = torch.device(device)
        self.definition = definition_of(task, config)
        self._network = build(self.definition, config.training.seed).to(self._device, memory_format=torch.channels_last)

    @classmethod
    def open(
        cls, archive: Archive, studies: Sequence[StudyRef], config: LearningConfig, device: str = "cpu"
    ) -> LocalTrainer:
        """Read a frozen cohort from the archive and cut its samples.

        Raises
        ------
        NotTrainable
            None of the studies shows anything of the task.
        UnusableStudy
            A study makes no volume.
        """
        task = open_task(config)
        return cls(task, prepare(task, archive, studies), config, device)

    def initial_weights(self, seed: int | None = None) -> Weights:
        """The start of a federation: equal bytes at every hospital for the same seed and the same PyTorch."""
        return to_weights(build(self.definition, self.config.training.seed if seed is None else seed))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Which of the weights are trained; the others are running statistics."""
        return tuple(name for name, _ in self._network.named_parameters())

    def train_round(
        self,
        weights: Mapping[str, NDArray[np.float32]],
        number: int,
        on_step: Progress | None = None,
        correction: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> RoundResult:
        """Start from ``weights``, take the configured number of optimiser steps, return what came of it.

        Parameters
        ----------
        number
            Round, from 0. Draws, augmentation and learning rate follow from it alone: a round that is done
            again after a crash gives the same result.
        correction
            By parameter, added to every gradient: SCAFFOLD's ``c - c_i``. Parameters that are not in it go without.
        """
        samples, training = self.data.training, self.config.training
        if not len(samples):
            raise NotTrainable("no training images: the cohort shows none of the task's classes")
        started = time.monotonic()
        load_weights(self._network, weights)
        self._network.train()
        rate = learning_rate(training.learning_rate, number, training.rounds)
        optimiser = _optimiser(self._network, training, rate)
        drift = Drift(self._network, training.proximal_mu, correction or {})
        generator = torch.Generator().manual_seed(_round_seed(training.seed, number))
        losses: list[float] = []
        for step in range(training.steps):
            begun = time.perf_counter()
            drawn = torch.multinomial(samples.weights, training.batch_size, replacement=True, generator=generator)
            images, targets = self.task.augment(samples.images[drawn], samples.targets[drawn], generator)
            drawn_at = time.perf_counter()
            outputs = self._network(self._to_device(images))
            loss = self.task.loss(outputs, targets.to(self._device))
            optimiser.zero_grad()
            loss.backward()
            drift.before_clipping()
            torch.nn.utils.clip_grad_norm_(self._network.parameters(), training.max_gradient_norm)
            drift.after_clipping()
            optimiser.step()
            losses.append(float(loss.detach()))
            metrics.DATA_SECONDS.inc(drawn_at - begun)
            metrics.COMPUTE_SECONDS.inc(time.perf_counter() - drawn_at)
            metrics.LOCAL_STEPS.inc()
            metrics.TRAINED_SAMPLES.inc(training.batch_size)
            metrics.LOCAL_EPOCHS.inc(training.batch_size / len(samples))
            if on_step is not None:
                on_step(step + 1, training.steps, losses[-1])
        return RoundResult(
            weights=to_weights(self._network),
            images=len(samples),
            patients=samples.patients,
            loss=float(np.mean(losses)),
            steps=training.steps,
            learning_rate=rate,
            seconds=time.monotonic() - started,
        )

    def outputs(self, weights: Mapping[str, NDArray[np.float32]]) -> torch.Tensor:
        """What the network says of the held-out images, on the CPU and in their order."""
        load_weights(self._network, weights)
        self._network.eval()
        images = self.data.held_out.images
        with torch.inference_mode():
            parts = [self._network(self._to_device(batch)).cpu() for batch in images.split(_EVALUATION_BATCH)]
        return torch.cat(parts) if parts else torch.zeros(0, len(self.task.classes))

    def evaluate(self, weights: Mapping[str, NDArray[np.float32]]) -> Evaluation:
        """Judge ``weights`` on the held-out images."""
        return self.task.evaluate(self.outputs(weights), self.data.held_out)

    def _to_device(self, images: torch.Tensor) -> torch.Tensor:
        return images.to(self._device, memory_format=torch.channels_last)


def prepare(task: Task, archive: Archive, studies: Sequence[StudyRef]) -> TaskData:
    """Read the studies one after the other and cut the task's samples."""

    def cases() -> Iterator[Case]:
        for study in studies:
            yield load_case(archive, study)

    data = task.prepare(cases(), held_out_patients(study.pseudonym for study in studies))
    if not len(data.training):
        raise NotTrainable(f"none of the {len(studies)} studies shows one of {', '.join(task.classes)}")
    return data


def definition_of(task: Task, config: LearningConfig) -> Definition:
    """The configured network, shaped for a task."""
    return define(
        config.network.name,
        config.network.args,
        spatial_dims=task.spatial_dims,
        in_channels=task.in_channels,
        out_channels=len(task.classes),
    )


def learning_rate(highest: float, number: int, rounds: int) -> float:
    """Half a cosine over the rounds (Loshchilov and Hutter, ICLR 2017); the last round still learns.

    Examples
    --------
    >>> [round(learning_rate(1.0, n, 4), 2) for n in range(4)]
    [1.0, 0.85, 0.5, 0.15]
    """
    return highest * 0.5 * (1 + math.cos(math.pi * min(number, rounds - 1) / rounds))


def _optimiser(network: torch.nn.Module, training: TrainingConfig, rate: float) -> torch.optim.Optimizer:
    """A fresh one: no moments of the round before, as the weights are no longer those."""
    if training.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, weight_decay=training.weight_decay, fused=True)
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=training.weight_decay, fused=True)


def _round_seed(seed: int, number: int) -> int:
    """Unrelated numbers for neighbouring rounds and seeds."""
    digest = hashlib.sha256(f"fedpacs round {seed} {number}".encode()).digest()
    return int.from_bytes(digest[:6], "big")


def to_weights(network: torch.nn.Module) -> Weights:
    """Copies of a network's parameters and running statistics.

    The count of batches that PyTorch keeps beside the statistics is left out: no network here uses it, and a count
    has no mean.
    """
    return {
        name: tensor.detach().cpu().contiguous().numpy().astype(np.float32, copy=True)
        for name, tensor in _tensors(network)
    }


def load_weights(network: torch.nn.Module, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Give a network all of its parameters and running statistics.

    Raises
    ------
    ValueError
        Names or shapes are not the network's, or a value is not finite.
    """
    tensors = dict(_tensors(network))
    if tensors.keys() != weights.keys():
        raise ValueError("the weights are of another network: the names of the parameters differ")
    with torch.no_grad():
        for name, tensor in tensors.items():
            values = np.asarray(weights[name], dtype=np.float32)
            if values.shape != tuple(tensor.shape):
                raise ValueError(f"the weights are of another network: {name} has shape {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has values that are not finite: the model has diverged")
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(values)))


def _tensors(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters()
    yield from ((name, buffer) for name, buffer in network.named_buffers() if buffer.is_floating_point())
