"""FederatedTraining: the NVFlare executor that trains on a hospital's own studies when the site's policy allows it.

Tasks: ``train`` (one round: apply the opened mean update, train, return the own update) and ``finish`` (apply the
last one, evaluate, keep the model at the hospital). The weights never leave in clear: the site's filters, which run
after this executor, seal the update or stop it.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.app_common.app_constant import AppConstants
from safetensors.numpy import load, save

from client_plugin.archive.archive import Archive
from client_plugin.archive.cohorts import CohortQuery, CohortSnapshot, freeze
from client_plugin.config import NodeConfig
from client_plugin.flare import node_config
from client_plugin.governance.job_content import job_digest
from client_plugin.governance.policy import TrainingRequest, decide
from client_plugin.learning.bundle import write_bundle
from client_plugin.learning.config import LearningConfig
from client_plugin.learning.control_variates import ControlVariates
from client_plugin.learning.federated_model import FederatedModel
from client_plugin.learning.training import LocalTrainer, Weights
from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import JobState, Quality, RoundEnd
from client_plugin.privacy.filters import META_METRICS, META_WEIGHT, kind_of_data
from client_plugin.privacy.session import HEADER_CONTRIBUTORS, AggregationSession, session_of
from observability import logs

TASK_TRAIN = "train"
TASK_FINISH = "finish"
ROUNDS_FILE = "rounds.jsonl"
SUMS_FILE = "sums.jsonl"
EVALUATION_FILE = "evaluation.json"
BUNDLE = "bundle"


class FederatedTraining(Executor):
    """Trains one task on one cohort.

    Parameters
    ----------
    learning
        What is learned and how (`client_plugin.learning.config.LearningConfig`); its seed makes the initial
        weights, the same at every site, so that nobody sends them.
    cohort
        Which studies (`client_plugin.archive.cohorts.CohortQuery`).
    """

    def __init__(self, learning: dict[str, Any], cohort: dict[str, Any]) -> None:
        super().__init__()
        self._learning = LearningConfig.from_job(learning)
        self._query = CohortQuery.model_validate(cohort)
        self._trainer: LocalTrainer | None = None
        self._model: FederatedModel | None = None
        self._kind = DataKind.WEIGHT_DIFF
        self._folder = Path()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Ask the gate and prepare the data before the first task; a refusal ends the job at this site."""
        if event_type == EventType.START_RUN:
            try:
                self._prepare(fl_ctx)
            except Exception as error:  # noqa: BLE001 - whatever it is, this site must say no rather than hang
                self.system_panic(f"this site does not take part: {error}", fl_ctx)

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Run one task. Errors become NVFlare return codes: nothing of the data is in them."""
        if self._trainer is None or self._model is None:
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
        if task_name not in (TASK_TRAIN, TASK_FINISH):
            return make_reply(ReturnCode.TASK_UNKNOWN)
        number = int(shareable.get_header(AppConstants.CURRENT_ROUND, 0))
        contributors: list[str] = shareable.get_header(HEADER_CONTRIBUTORS, [])
        if any(not key.startswith("__") for key in shareable):
            opened = from_shareable(shareable).data
            if self._model.apply(number, opened, contributors):
                self._record(SUMS_FILE, {"round": number, "sites": contributors})
        if task_name == TASK_FINISH:
            return self._finish(self._trainer, self._model, fl_ctx)
        try:
            return self._train(self._trainer, self._model, number, fl_ctx)
        except Exception:
            metrics.ROUNDS.inc(RoundEnd.FAILED)
            raise

    def _prepare(self, fl_ctx: FLContext) -> None:
        config = node_config(fl_ctx)
        logs.configure("job", config.site, config.root / "logs")
        logs.always(job=fl_ctx.get_job_id())
        session = session_of(fl_ctx)
        archive = Archive.open(config)
        snapshot = freeze(archive.catalogue, self._query)
        self._ask_the_gate(config, session, snapshot, fl_ctx)
        self._folder = config.models / fl_ctx.get_job_id()
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._trainer = LocalTrainer.open(archive, snapshot.studies, self._learning)
        self._kind = kind_of_data(session)
        self._model = _model(self._trainer, session, fl_ctx.get_identity_name())
        session.declare_layout(self._model.shapes)
        if kept := session.kept_own():
            self._model.take_own_state(load(kept))
        metrics.cohort(patients=snapshot.patients, images=len(self._trainer.data.training))
        self.log_info(fl_ctx, f"cohort {snapshot.digest[:12]} frozen, data ready")

    def _ask_the_gate(
        self, config: NodeConfig, session: AggregationSession, snapshot: CohortSnapshot, fl_ctx: FLContext
    ) -> None:
        meta = fl_ctx.get_prop(FLContextKey.JOB_META) or {}
        workspace: Workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        wanted = session.settings
        request = TrainingRequest(
            job=str(meta.get(JobMetaKey.JOB_NAME.value, "")),
            digest=job_digest(Path(workspace.get_app_dir(fl_ctx.get_job_id()))),
            patients=snapshot.patients,
            encryption=wanted.encryption.value,
            bits=wanted.bits,
            min_sites=wanted.min_sites,
        )
        decision = decide(request, config.governance)
        self.log_info(fl_ctx, f"policy: {decision.rule}")
        if not decision.allowed:
            metrics.JOBS.inc(JobState.REFUSED)
            metrics.JOBS_REFUSED.inc(decision.rule)
            raise PermissionError(decision.reason)
        metrics.JOBS.inc(JobState.ACCEPTED)

    def _train(self, trainer: LocalTrainer, model: FederatedModel, number: int, fl_ctx: FLContext) -> Shareable:
        started = time.monotonic()
        metrics.ROUND.set(number + 1)
        evaluation = trainer.evaluate(model.weights)
        result = trainer.train_round(model.weights, number, correction=model.correction)
        said = {"loss": result.loss, "balanced_accuracy": evaluation.balanced_accuracy}
        seconds = time.monotonic() - started
        self._measure(said, seconds, fl_ctx.get_job_id())
        self._record(ROUNDS_FILE, {"round": number + 1, **said, "seconds": seconds, "images": result.images})
        self.log_info(fl_ctx, f"round {number + 1}: loss {result.loss:.4f}")
        update = DXO(self._kind, data=model.update(result))
        if own := model.own_state():
            session_of(fl_ctx).keep_own(save(own))
        update.set_meta_prop(META_WEIGHT, float(result.images))
        update.set_meta_prop(META_METRICS, said)
        return update.to_shareable()

    def _finish(self, trainer: LocalTrainer, model: FederatedModel, fl_ctx: FLContext) -> Shareable:
        evaluation = trainer.evaluate(model.weights)
        write_bundle(self._folder / BUNDLE, trainer, model.weights, evaluation)
        metrics.VALIDATION.set(Quality.BALANCED_ACCURACY, evaluation.balanced_accuracy)
        # Every hospital ends with the same model but for what stays local; this line is how people can compare.
        self.log_info(fl_ctx, f"final model {digest(model.shared)[:16]} kept at this site")
        return DXO(DataKind.METRICS, data={"balanced_accuracy": evaluation.balanced_accuracy}).to_shareable()

    def _measure(self, said: dict[str, float], seconds: float, job: str) -> None:
        metrics.ROUND_SECONDS.observe(seconds, {"job": job})
        metrics.TRAINING_LOSS.set(said["loss"])
        metrics.VALIDATION.set(Quality.BALANCED_ACCURACY, said["balanced_accuracy"])

    def _record(self, file_name: str, row: dict[str, Any]) -> None:
        """One line a round, at the hospital only: more than what the policy lets out."""
        with (self._folder / file_name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _model(trainer: LocalTrainer, session: AggregationSession, site: str) -> FederatedModel:
    """What the job's algorithm and the session's settings make of the initial weights."""
    start = trainer.initial_weights()
    variates = None
    if trainer.config.training.algorithm == "scaffold":
        shared = {name: start[name].shape for name in trainer.parameter_names if not session.is_local(name)}
        variates = ControlVariates(shared, session.settings.clip)
    return FederatedModel(
        site, start, is_local=session.is_local, full_weights=session.settings.full_weights, variates=variates
    )


def digest(weights: Weights) -> str:
    """SHA-256 of a model's values in the order of their names."""
    found = hashlib.sha256()
    for name in sorted(weights):
        found.update(name.encode() + b"\0" + weights[name].astype("<f4").tobytes())
    return found.hexdigest()
