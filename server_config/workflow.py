"""``EncryptedFedAvg``: federated averaging of updates that the server cannot read.

Ceremony (the hospitals make keys that the server never has), rounds (train, add, next), finish (the last sum goes
down, every hospital keeps the final model). The model itself is nowhere on the server: it starts from the job's seed
at the sites and lives there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from secure_aggregation.ceremony import Settings
from secure_aggregation.errors import ProtocolError
from secure_aggregation.identity import Authority, common_name
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import FINISH, TRAIN
from secure_aggregation.server import Ceremony
from server_config import metrics
from server_config.aggregator import EncryptedSums
from server_config.exchange import Answer, Exchange, refusal
from server_config.progress import Journal, Progress, SiteRound

TASK_ANNOUNCE = "fedpacs_announce"
TASK_KEYS = "fedpacs_keys"
TASK_CONFIRM = "fedpacs_confirm"
TASK_READY = "fedpacs_ready"
HEADER_METRICS = "fedpacs.metrics"
ROUNDS_FILE = "rounds.json"
_MAX_METRICS = 32


class JobFailedError(Exception):
    """The job cannot go on; the message says why, for the person who submitted it."""


class EncryptedFedAvg(Controller):
    """The server's workflow.

    Parameters
    ----------
    num_rounds
        Rounds of training.
    min_sites
        A sum needs the updates of so many sites; with fewer the job fails.
    required_sites
        Sites without which no round counts.
    encryption, bits, clip, max_weight
        As in the job's client configuration: the sites sign theirs, and the server compares.
    round_timeout
        Seconds for training in a round. Sites that have not answered by then are left out of it.
    ceremony_timeout
        Seconds for each step of the key ceremony.
    train_task, finish_task
        Names of the executor's tasks.
    """

    def __init__(
        self,
        num_rounds: int,
        min_sites: int = 3,
        required_sites: Sequence[str] = (),
        encryption: str = "he+masks",
        bits: int = 24,
        clip: float = 1.0,
        max_weight: float = 65536.0,
        round_timeout: int = 3600,
        ceremony_timeout: int = 120,
        train_task: str = "train",
        finish_task: str = "finish",
    ) -> None:
        super().__init__()
        self._settings = Settings(Encryption(encryption), int(bits), float(clip), float(max_weight), int(min_sites))
        self._num_rounds = int(num_rounds)
        self._required = frozenset(required_sites)
        self._round_timeout = int(round_timeout)
        self._ceremony_timeout = int(ceremony_timeout)
        self._train_task = train_task
        self._finish_task = finish_task
        self._journal = Journal(Progress(self._num_rounds, encryption=encryption, bits=int(bits)))
        self._exchange = Exchange(self)
        self._authority: Authority | None = None
        self._epoch = 0

    # --- NVFlare's interface ----------------------------------------------------------------------------------

    def start_controller(self, fl_ctx: FLContext) -> None:
        """See :class:`nvflare.apis.impl.controller.Controller`."""
        workspace: Workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        startup = Path(workspace.get_startup_kit_dir())
        self._authority = Authority(
            (startup / "rootCA.pem").read_bytes(), frozenset({common_name((startup / "server.crt").read_bytes())})
        )
        self._journal.write_to(Path(workspace.get_run_dir(fl_ctx.get_job_id())) / ROUNDS_FILE)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """See :class:`nvflare.apis.impl.controller.Controller`."""
        try:
            sums, sites = self._ceremony(abort_signal, fl_ctx)
            for step in range(self._num_rounds):
                self._round(step, sums, sites, abort_signal, fl_ctx)
            self._finish(sums, sites, abort_signal, fl_ctx)
        except (JobFailedError, ProtocolError) as error:
            # A job that lost a required site does not say "finished".
            self._journal.failed(str(error))
            metrics.aggregation_failed()
            self.system_panic(str(error), fl_ctx)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """See :class:`nvflare.apis.impl.controller.Controller`."""
        self._journal.write()

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Answer ``show_stats server`` of the admin console."""
        super().handle_event(event_type, fl_ctx)
        if event_type == InfoCollector.EVENT_TYPE_GET_STATS:
            collector = fl_ctx.get_prop(InfoCollector.CTX_KEY_STATS_COLLECTOR)
            if isinstance(collector, GroupInfoCollector):
                # Through JSON, so that only plain data gets into NVFlare's reply.
                collector.add_info(type(self).__name__, json.loads(json.dumps(self._journal.as_dict())))

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """An answer after its deadline: counted, and not added."""
        answer = Answer(client.name, result, 0.0)
        metrics.update_received(metrics.UpdateOutcome.LATE, answer.payload.size)
        self.log_warning(fl_ctx, f"{task_name}: {client.name} answered after the deadline; its answer is not used")

    # --- phases -----------------------------------------------------------------------------------------------

    def _ceremony(self, abort_signal: Signal, fl_ctx: FLContext) -> tuple[EncryptedSums, list[str]]:
        """Run ceremonies until one completes with the sites that are left."""
        self._journal.phase("ceremony")
        assert self._authority is not None  # noqa: S101 - start_controller came first
        sites = sorted(client.name for client in self._engine.get_clients())
        start = time.monotonic()
        while True:
            self._check_sites(sites, "the key ceremony")
            ceremony = Ceremony(fl_ctx.get_job_id(), self._epoch, self._settings, self._authority)
            self._epoch += 1
            lost = self._ceremony_once(ceremony, sites, abort_signal, fl_ctx)
            if not lost:
                break
            sites = [site for site in sites if site not in lost]
            self.log_warning(fl_ctx, f"key ceremony again, without {', '.join(sorted(lost))}")
        roster = ceremony.roster()
        self._journal.ceremony(sites, time.monotonic() - start)
        self.log_info(fl_ctx, f"key ceremony complete: {', '.join(sites)}; transcript {roster.transcript.hex()[:16]}")
        return EncryptedSums(roster, self._settings.parameters(len(sites)), ceremony.layout), sites

    def _ceremony_once(self, ceremony: Ceremony, sites: list[str], abort_signal: Signal, fl_ctx: FLContext) -> set[str]:
        """One ceremony; the answer is the sites that failed in it."""

        def run(task: str, data: dict[str, Any], accept: Any) -> set[str]:
            return set(self._exchange.run(task, data, self._ceremony_timeout, accept, fl_ctx, abort_signal))

        def taking(take: Any) -> Any:
            def accept(answer: Answer) -> None:
                if refusal(answer.result) is None:
                    take(answer.site, answer.payload)

            return accept

        lost = run(TASK_ANNOUNCE, dict.fromkeys(sites, ceremony.request()), taking(ceremony.announced))
        if not lost:
            lost = run(TASK_KEYS, dict.fromkeys(sites, ceremony.roster().message()), taking(ceremony.shared))
        if not lost:
            lost = run(TASK_CONFIRM, {site: ceremony.delivery(site) for site in sites}, taking(ceremony.confirmed))
        if not lost:
            lost = run(TASK_READY, dict.fromkeys(sites, ceremony.ready()), lambda _: None)
        self._check_abort(abort_signal)
        return lost

    def _round(self, step: int, sums: EncryptedSums, sites: list[str], abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Train at the sites, add what they send."""
        number = step + 1
        message = sums.message(step, self._num_rounds, TRAIN)
        sums.open_round(step)
        self._journal.phase("training")
        self._journal.round_started(number, message.size)
        metrics.round_started(number, self._num_rounds, sites, self._round_timeout)
        if step:
            metrics.sum_sent(message.size * len(sites))
        start = time.monotonic()

        def accept(answer: Answer) -> None:
            self._accept_update(sums, answer)

        self._exchange.run(
            self._train_task, dict.fromkeys(sites, message), self._round_timeout, accept, fl_ctx, abort_signal
        )
        contributors = sums.contributors
        self._journal.round_ended(contributors, sums.seconds)
        enough = len(contributors) >= self._settings.min_sites and self._required <= set(contributors)
        outcome = metrics.RoundOutcome.COMPLETED if enough else metrics.RoundOutcome.BELOW_QUORUM
        metrics.round_ended(outcome, sites, contributors, time.monotonic() - start)
        self._check_abort(abort_signal)
        self._check_sites(contributors, f"round {number}")
        self.log_info(fl_ctx, f"round {number}: {', '.join(contributors)}")

    def _accept_update(self, sums: EncryptedSums, answer: Answer) -> None:
        reason = refusal(answer.result)
        size = answer.payload.size
        entry = SiteRound(answer.seconds, size, _numbers(answer.result.get_header(HEADER_METRICS)), reason)
        try:
            if reason is None:
                metrics.update_received(metrics.UpdateOutcome.ADDED, size, sums.add(answer.site, answer.payload))
            else:
                metrics.update_received(metrics.UpdateOutcome.REFUSED, size)
        except ProtocolError as error:
            metrics.update_received(metrics.UpdateOutcome.REFUSED, size)
            metrics.aggregation_failed()
            entry.refused = error.reason.value
            raise
        finally:
            self._journal.answered(answer.site, entry)

    def _finish(self, sums: EncryptedSums, sites: list[str], abort_signal: Signal, fl_ctx: FLContext) -> None:
        """The last sum goes down; every site keeps the final model."""
        self._journal.phase("finishing")
        message = sums.message(self._num_rounds, self._num_rounds, FINISH)
        metrics.sum_sent(message.size * len(sites))

        def accept(answer: Answer) -> None:
            entry = SiteRound(
                answer.seconds, 0, _numbers(answer.result.get_header(HEADER_METRICS)), refusal(answer.result)
            )
            self._journal.finished(answer.site, entry)

        lost = self._exchange.run(
            self._finish_task, dict.fromkeys(sites, message), self._round_timeout, accept, fl_ctx, abort_signal
        )
        self._check_abort(abort_signal)
        self._check_sites([site for site in sites if site not in lost], "the end of the job")
        self._journal.phase("finished")

    # --- decisions --------------------------------------------------------------------------------------------

    def _check_sites(self, present: Sequence[str], when: str) -> None:
        missing = self._required - set(present)
        if missing:
            raise JobFailedError(f"{when}: required site {', '.join(sorted(missing))} is missing")
        if len(present) < self._settings.min_sites:
            raise JobFailedError(f"{when}: {len(present)} sites, at least {self._settings.min_sites} are required")

    @staticmethod
    def _check_abort(abort_signal: Signal) -> None:
        if abort_signal.triggered:
            raise JobFailedError("the job was aborted")


def _numbers(values: Any) -> dict[str, float]:
    """Only what can be a metric: short names, numbers."""
    if not isinstance(values, dict):
        return {}
    found = {
        str(name)[:64]: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return dict(list(found.items())[:_MAX_METRICS])
