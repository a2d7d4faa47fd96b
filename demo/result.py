"""What one run of the demo found out: the schema of ``.demo/<run>/result.json``.

The numbers that everything else follows from are stored once: a score is a confusion matrix, and balanced
accuracies, means and the verdict are computed from it when the file is written and again when it is read.
Example crops are images, so they go into ``crops.json`` beside it and ``result.json`` stays readable.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, computed_field, field_validator, model_validator

RESULT_FILE = "result.json"
CROPS_FILE = "crops.json"

Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]


class Record(BaseModel):
    """Immutable; an unknown key is an error; computed fields are written, and on reading computed anew."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _drop_computed(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        return {key: value for key, value in data.items() if key not in cls.model_computed_fields}


class Score(Record):
    """How one model did on one hospital's held-out contiguous slab.

    ``confusion[i][j]`` counts images of class ``i`` that the model called class ``j``; both index
    the classes of the task, in its order.
    """

    slab: str = Field(description="Site whose held-out slab this is")
    patients: Count
    confusion: tuple[tuple[Count, ...], ...]

    @field_validator("confusion")
    @classmethod
    def _square(cls, value: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        if any(len(row) != len(value) for row in value):
            raise ValueError("a confusion matrix is square: one row and one column for each class")
        return value

    @computed_field  # type: ignore[prop-decorator]
    @property
    def images(self) -> int:
        return sum(map(sum, self.confusion))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that the slab has; an empty slab scores 0."""
        recalls = [row[i] / sum(row) for i, row in enumerate(self.confusion) if sum(row)]
        return fmean(recalls) if recalls else 0.0


class CurvePoint(Record):
    """A model after one round (or, for a model trained without rounds, after the same number of steps)."""

    round: Count
    loss: float = Field(description="Mean training loss of that round")
    balanced_accuracy: float | None = Field(default=None, description="Mean over the slabs, where it was measured")


class ModelResult(Record):
    """One trained model on every slab. ``alone``: one hospital's data; ``pooled``: all data in one place."""

    name: str
    kind: Literal["alone", "federation", "pooled"]
    trained_on: tuple[str, ...] = Field(description="Sites whose training images it saw", min_length=1)
    scores: tuple[Score, ...] = Field(min_length=1)
    curve: tuple[CurvePoint, ...] = ()

    @computed_field  # type: ignore[prop-decorator]
    @property
    def mean_balanced_accuracy(self) -> float:
        """Unweighted over the slabs: no hospital counts more because it has more images."""
        return fmean(score.balanced_accuracy for score in self.scores)


class Crop(Record):
    """A held-out crop with what the federation's model made of it."""

    slab: str
    plane: Literal["axial", "coronal", "sagittal"]
    truth: str
    prediction: str
    confidence: float | None = Field(default=None, ge=0, le=1, description="Softmax probability of the prediction")
    png: str = Field(description="The crop as base64 of a PNG")

    @field_validator("png")
    @classmethod
    def _is_png(cls, value: str) -> str:
        if not base64.b64decode(value, validate=True).startswith(b"\x89PNG\r\n"):
            raise ValueError("not a PNG: encode the image's bytes as base64")
        return value


class Evaluation(Record):
    """What the comparison hands over: every model on every slab, and example crops."""

    classes: tuple[str, ...] = Field(min_length=2)
    models: tuple[ModelResult, ...] = Field(min_length=1)
    crops: tuple[Crop, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Evaluation:
        slabs = [score.slab for score in self.models[0].scores]
        for model in self.models:
            if [score.slab for score in model.scores] != slabs:
                raise ValueError(f"model {model.name}: scored on other slabs than {self.models[0].name}")
            for score in model.scores:
                if len(score.confusion) != len(self.classes):
                    raise ValueError(f"model {model.name} on {score.slab}: the matrix does not fit the classes")
        if unknown := {name for crop in self.crops for name in (crop.truth, crop.prediction)} - set(self.classes):
            raise ValueError(f"crops of unknown classes: {', '.join(sorted(unknown))}")
        return self


class Verdict(Record):
    """Does taking part pay? The federation's mean against the mean of the hospitals' means alone."""

    federation: float
    alone: float
    best_alone: float
    pooled: float | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def federation_beats_alone(self) -> bool:
        return self.federation > self.alone

    @classmethod
    def of(cls, models: tuple[ModelResult, ...]) -> Verdict | None:
        """None while there is no federation or no hospital alone to compare."""
        means = {kind: [m.mean_balanced_accuracy for m in models if m.kind == kind] for kind in _KINDS}
        if not means["federation"] or not means["alone"]:
            return None
        return cls(
            federation=fmean(means["federation"]),
            alone=fmean(means["alone"]),
            best_alone=max(means["alone"]),
            pooled=fmean(means["pooled"]) if means["pooled"] else None,
        )


_KINDS = ("alone", "federation", "pooled")


class Phase(Record):
    """A step of the run, in order, as it was printed."""

    name: str
    seconds: Seconds


class Hospital(Record):
    """What one hospital brought in, as its own node counts it."""

    site: str
    source: str = Field(description="Where its imaging comes from, with the licence")
    patients: Count
    studies: Count
    instances: Count
    training_images: Count
    held_out_images: Count
    classes: tuple[str, ...] = Field(description="Classes that occur in its held-out slab")


class Contribution(Record):
    """One site's part in one round. Bytes are those of the message on the wire."""

    site: str
    loss: float
    seconds: Seconds
    images: Count = Field(description="Training images drawn from")
    bytes_up: Count
    bytes_down: Count


class Round(Record):
    """One federated round. A site that was configured but did not contribute is missing, and named."""

    number: Count
    seconds: Seconds
    contributions: tuple[Contribution, ...]
    missing: tuple[str, ...] = ()


class Network(Record):
    """What is trained. ``plain_bytes`` is what one update would weigh in clear."""

    name: str
    parameters: Count

    @computed_field  # type: ignore[prop-decorator]
    @property
    def plain_bytes(self) -> int:
        """As float32."""
        return 4 * self.parameters


class ServerView(Record):
    """What the consortium's server had in its hands, and what was looked for there."""

    scheme: str = Field(description="Protection in the standard's terms, for example 'BFV, n=4096, log q=72'")
    updates: Count = Field(description="Encrypted updates it added")
    bytes_received: Count
    bytes_sent: Count
    in_clear: tuple[str, ...] = Field(default=(), description="What it could read, one phrase each")
    searched_for: tuple[str, ...] = Field(default=(), description="What it must not have, one phrase each")
    files_searched: Count = Field(default=0, description="Files of its workspace and job store that were searched")
    secrets_found: Count = Field(default=0, description="Places in which something of it was found")


class Address(Record):
    """Where something can be looked at while the federation runs."""

    name: str
    url: str


class Environment(Record):
    """The machine and versions a figure was measured with."""

    date: datetime
    machine: str
    cpus: Count
    memory_bytes: Count
    python: str
    versions: dict[str, str] = Field(description="Distribution name to version")
    commit: str | None = None

    @field_validator("date")
    @classmethod
    def _aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("a date without a time zone says nothing")
        return value


class DemoResult(Evaluation):
    """One run of the demo, whole."""

    schema_version: Literal[1] = 1
    job: str = "organ-classification"
    environment: Environment
    phases: tuple[Phase, ...]
    peak_memory_bytes: Count = Field(description="Largest sum of resident memory over all processes started")
    hospitals: tuple[Hospital, ...] = Field(min_length=1)
    network: Network
    rounds: tuple[Round, ...] = Field(min_length=1)
    server: ServerView
    metrics: tuple[Address, ...] = ()
    artifacts: dict[str, str] = Field(default_factory=dict, description="What was written, relative to the run")
    next_commands: dict[str, str] = Field(default_factory=dict, description="What to do next: purpose to command")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict | None:
        return Verdict.of(self.models)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def total_seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def update_bytes_up(self) -> int:
        """Median over sites and rounds of one encrypted update."""
        return round(median(self._contributed("bytes_up")))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def update_bytes_down(self) -> int:
        return round(median(self._contributed("bytes_down")))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def patients(self) -> int:
        return sum(hospital.patients for hospital in self.hospitals)

    def _contributed(self, field: str) -> list[int]:
        return [getattr(part, field) for one in self.rounds for part in one.contributions] or [0]

    def save(self, folder: Path) -> Path:
        """Write ``result.json`` and ``crops.json`` into ``folder``; return the path of the first."""
        target = folder / RESULT_FILE
        target.write_text(_readable(self.model_dump(mode="json", exclude={"crops"})), encoding="utf-8")
        crops = [crop.model_dump(mode="json") for crop in self.crops]
        (folder / CROPS_FILE).write_text(json.dumps(crops, indent=1) + "\n", encoding="utf-8")
        return target

    @classmethod
    def load(cls, folder: Path) -> DemoResult:
        """Read what ``save`` wrote; crops are optional.

        Raises
        ------
        pydantic.ValidationError
            The file is of another schema version, or damaged.
        """
        data = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
        crops = folder / CROPS_FILE
        data["crops"] = json.loads(crops.read_text(encoding="utf-8")) if crops.exists() else ()
        return cls.model_validate(data)


def _readable(data: Any) -> str:
    """JSON with one key a line, and lists of plain numbers (rows of a matrix) on one line each."""
    text = json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\[\s+([-\d.eE,\s]+?)\s+\]", lambda row: "[" + " ".join(row[1].split()) + "]", text) + "\n"
