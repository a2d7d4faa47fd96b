"""The trained model as a MONAI bundle: weights, how to use them, and a model card that says what they are not for.

A bundle's configuration is code (its ``$`` expressions are evaluated). This one is written by the site from values
that were checked, and nothing here ever reads one back: `read_weights` reads numbers.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from client_plugin.learning.evaluation import Evaluation
from client_plugin.learning.training import LocalTrainer

WEIGHTS = Path("models") / "model.safetensors"
_ALGORITHMS = {"fedavg": "Federated averaging", "fedprox": "Federated averaging with FedProx", "scaffold": "SCAFFOLD"}
_SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"


def write_bundle(
    folder: Path, trainer: LocalTrainer, weights: Mapping[str, NDArray[np.float32]], evaluation: Evaluation
) -> Path:
    """Write the bundle into ``folder``, which appears whole or not at all; one that is there is replaced.

    Parameters
    ----------
    evaluation
        On this hospital's held-out images; it goes into the model card.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".bundle-"))
    try:
        for name in ("configs", "models", "docs"):
            (partial / name).mkdir()
        save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, partial / WEIGHTS)
        # The zoo's tools look for this file. It holds tensors only: torch.load(weights_only=True) reads it.
        torch.save({k: torch.from_numpy(np.array(v)) for k, v in weights.items()}, partial / "models" / "model.pt")
        _write_json(partial / "configs" / "metadata.json", metadata(trainer))
        _write_json(partial / "configs" / "inference.json", inference(trainer))
        card = model_card(trainer, evaluation, _sha256(partial / WEIGHTS))
        (partial / "docs" / "README.md").write_text(card, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        partial.replace(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return folder


def read_weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    """The bundle's parameters. No configuration and no pickle is read."""
    return load_file(folder / WEIGHTS)


def metadata(trainer: LocalTrainer) -> dict[str, Any]:
    """``configs/metadata.json`` as MONAI's bundle specification asks for it."""
    about = trainer.task.about
    size = [about.image_size, about.image_size]
    classes = {str(number): name for number, name in enumerate(trainer.task.classes)}
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "CT",
        "num_channels": trainer.task.in_channels,
        "spatial_shape": size,
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {"0": f"CT in HU, window {about.window.centre:g}/{about.window.width:g}"},
    }
    prediction = {
        "type": "probabilities",
        "format": "segmentation" if about.dense else "classes",
        "num_channels": len(classes),
        "spatial_shape": size if about.dense else [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": classes,
    }
    return {
        "schema": _SCHEMA,
        "version": "0.1.0",
        "changelog": {"0.1.0": "trained by federated averaging with fedpacs"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch"),
        "numpy_version": version("numpy"),
        "required_packages_version": {"safetensors": version("safetensors")},
        "optional_packages_version": {},
        "name": trainer.config.task.name,
        "task": about.title,
        "description": f"{about.summary} Trained at several hospitals by federated averaging. Not a medical device.",
        "authors": "the hospitals of the federation",
        "copyright": "the hospitals of the federation",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
    }


def inference(trainer: LocalTrainer) -> dict[str, Any]:
    """``configs/inference.json``: a folder of NIfTI or NumPy files in HU to predictions.

    Predictions are the names of classes, or one map of class numbers a file, written beside the input.
    """
    about, definition = trainer.task.about, trainer.definition
    low = about.window.centre - about.window.width / 2
    size = [about.image_size, about.image_size]
    preprocessing = [
        {"_target_": "LoadImage", "image_only": True},
        {"_target_": "EnsureChannelFirst", "channel_dim": "no_channel"},
        {"_target_": "ScaleIntensityRange", "a_min": low, "a_max": low + about.window.width, "b_min": 0, "b_max": 1,
         "clip": True},
        {"_target_": "Resize", "spatial_size": size, "mode": "bilinear", "anti_aliasing": True},
        {"_target_": "EnsureType", "dtype": "$torch.float32"},
    ]  # fmt: skip
    load = "$torch.load(@bundle_root + '/models/model.pt', weights_only=True, map_location=@device)"
    if about.dense:
        predictions = "$list(@probabilities.argmax(1).cpu().numpy())"
        run = "$[numpy.save(f + '.mask', m) for f, m in zip(@files, @predictions)]"
    else:
        predictions = "$[@classes[i] for i in @probabilities.argmax(1).tolist()]"
        run = "$print('\\n'.join(f + ' ' + c for f, c in zip(@files, @predictions)))"
    return {
        "imports": ["$import glob", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "input_folder": "$@bundle_root + '/crops'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "classes": list(trainer.task.classes),
        "network_def": {"_target_": definition.path, **definition.keywords},
        "network": "$@network_def.to(@device).eval()",
        "checkpoint": load,
        "preprocessing": {"_target_": "Compose", "transforms": preprocessing},
        "files": "$sorted(f for f in glob.glob(@input_folder + '/*') if not f.endswith('.mask.npy'))",
        "dataset": {"_target_": "Dataset", "data": "@files", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 64, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "no_gradients": "$torch.set_grad_enabled(False)",
        "probabilities": "$torch.cat([@inferer(batch.to(@device), @network).softmax(1) for batch in @dataloader])",
        "predictions": predictions,
        "initialize": ["$@no_gradients", "$@network.load_state_dict(@checkpoint)"],
        "run": [run],
    }


def model_card(trainer: LocalTrainer, evaluation: Evaluation, weights_sha256: str) -> str:
    """``docs/README.md``: what the model is, how it was trained, how well it does here, and its limits."""
    config, about, samples = trainer.config, trainer.task.about, trainer.data.training
    parameters = sum(value.size for value in trainer.initial_weights().values())
    return f"""# {config.task.name}

{about.summary}

{about.recipe} Windowed to {about.window.centre:g}/{about.window.width:g} HU.

**Not a medical device.** It shows that the federation works. Do not use it on patients.

## How it was trained

- Network: `{trainer.definition.path}`, {parameters} weights.
- {_ALGORITHMS[config.training.algorithm]}, {config.training.rounds} rounds of {config.training.steps} steps with
  {config.training.batch_size} images, drawn in balance over the classes that a hospital has;
  {config.training.optimizer}, learning rate {config.training.learning_rate:g} falling along a cosine;
  seed {config.training.seed}.
- This hospital contributed {len(samples)} images of {_patients(samples.patients)}. They never left it; the updates
  left encrypted and were opened as a sum.

## How well it does here

Held out at the hospital that wrote this card: {evaluation.images} images of {_patients(evaluation.patients)}.
Balanced accuracy **{evaluation.balanced_accuracy:.3f}** over the {len(evaluation.recalls)} classes that occur
(chance with all {len(evaluation.classes)} classes: {1 / len(evaluation.classes):.2f}).

{_figures(evaluation, dense=about.dense)}

## Limits

- With fewer than eight patients at a hospital, the held-out images are a contiguous slab of the *same* patients'
  bodies: no voxel is in both sides, but the patient, the scanner and the contrast phase are. Such a figure says
  nothing about other patients.
- Neighbouring images of one patient look alike; their number overstates the evidence. Count patients.
- Settings were chosen while looking at these held-out images, so the figures are optimistic.
- The labels are taken as they came and were not reviewed.

## Files

`models/model.safetensors` (SHA-256 `{weights_sha256}`) and the same tensors in
`models/model.pt` for MONAI's tools; `configs/inference.json` runs on a folder of {about.inputs}:

    python -m monai.bundle run --config_file configs/inference.json --bundle_root . --input_folder crops
"""


def _figures(evaluation: Evaluation, *, dense: bool) -> str:
    """One row a class that occurs."""
    counted = "pixels" if dense else "held-out images"
    rows = [f"| class | {counted} | recall | Dice |", "|---|---|---|---|"]
    for i, name in enumerate(evaluation.classes):
        if name in evaluation.recalls:
            total = int(evaluation.confusion[i].sum())
            rows.append(f"| {name} | {total} | {evaluation.recalls[name]:.2f} | {evaluation.dice[name]:.2f} |")
    return "\n".join(rows)


def _patients(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
