"""``EncryptedFedAvg``: federated averaging of updates that the server cannot read.

Ceremony (the hospitals make keys that the server never has), rounds (train, add, with masks reveal, next), finish
(the last sum goes down, every hospital keeps the final model). The model itself is nowhere on the server: it starts
from the job's seed at the sites and lives there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from secure_aggregation import simulation
from secure_aggregation.ceremony import Settings
from secure_aggregation.errors import ProtocolError
from secure_aggregation.identity import Authority, common_name
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import FINISH, TRAIN, Closed, round_message
from server_config import metrics
from server_config.aggregator import EncryptedSums
from server_config.ceremonies import Ceremonies
from server_config.exchange import Answer, Exchange, JobFailedError, refusal, taking
from server_config.progress import Journal, Progress, SiteRound

TASK_REVEAL = "fedpacs_reveal"
HEADER_METRICS = "fedpacs.metrics"
ROUNDS_FILE = "rounds.json"
_MAX_METRICS = 32


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
    min_share
        Least weight of a sum as a share of the largest one so far; the sites check it, the server knows no weights.
    encryption, bits, clip, max_weight, full_weights, server_optimizer
        As in the job's client configuration: the sites sign theirs, and the server compares.
    rekey_rounds
        A new key ceremony every so many rounds; 0: only when a site dropped out or came back.
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
        min_share: float = 0.0,
        encryption: str = "he+masks",
        bits: int = 24,
        clip: float = 1.0,
        max_weight: float = 65536.0,
        full_weights: bool = False,
        server_optimizer: dict[str, Any] | None = None,
        rekey_rounds: int = 0,
        round_timeout: int = 3600,
        ceremony_timeout: int = 120,
        train_task: str = "train",
        finish_task: str = "finish",
    ) -> None:
        super().__init__()
        self._settings = Settings(
            Encryption(encryption),
            int(bits),
            float(clip),
            float(max_weight),
            int(min_sites),
            float(min_share),
            bool(full_weights),
            ServerOptimizer.from_job(server_optimizer),
        )
        self._num_rounds = int(num_rounds)
        self._required = frozenset(required_sites)
        self._rekey_rounds = int(rekey_rounds)
        self._round_timeout = int(round_timeout)
        self._ceremony_timeout = int(ceremony_timeout)
        self._train_task = train_task
        self._finish_task = finish_task
        self._journal = Journal(Progress(self._num_rounds, encryption=encryption, bits=int(bits)))
        self._authority: Authority | None = None
        self._configured: tuple[str, ...] = ()

    # --- NVFlare's interface ----------------------------------------------------------------------------------

    def start_controller(self, fl_ctx: FLContext) -> None:
        """See :class:`nvflare.apis.impl.controller.Controller`."""
        workspace: Workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        startup = Path(workspace.get_startup_kit_dir())
        simulated = simulation.folder()
        if simulated and not (startup / "server.crt").exists():
            credentials, root = simulation.credentials(simulated, simulation.SERVER)
            certificate = credentials.certificate
        else:
            root, certificate = (startup / "rootCA.pem").read_bytes(), (startup / "server.crt").read_bytes()
        self._authority = Authority(root, frozenset({common_name(certificate)}))
        metrics.of_job(fl_ctx.get_job_id())
        self._journal.write_to(Path(workspace.get_run_dir(fl_ctx.get_job_id())) / ROUNDS_FILE)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """See :class:`nvflare.apis.impl.controller.Controller`."""
        run = Exchange(self, fl_ctx, abort_signal)
        try:
            # A site that drops out leaves the keys of the next round. It stays one that should contribute.
            self._configured = tuple(sorted(client.name for client in self._engine.get_clients()))
            self._keys = self._ceremonies(run)
            sums = self._keys.complete(self._configured)
            closed: Closed | None = None
            for step in range(self._keys.resume(sums), self._num_rounds):
                if closed is not None:
                    due = bool(self._rekey_rounds) and step % self._rekey_rounds == 0
                    sums = self._keys.renew(sums, closed, due=due)
                closed = self._round(step, sums, closed, run)
            self._finish(sums, closed, run)
        except (JobFailedError, ProtocolError) as error:
            # A job that lost a required site does not say "finished".
            self._journal.failed(str(error))
            metrics.aggregation_failed()
            self.system_panic(str(error), fl_ctx)

    def _ceremonies(self, run: Exchange) -> Ceremonies:
        assert self._authority is not None  # noqa: S101 - start_controller came first
        return Ceremonies(
            self._settings, self._authority, self._ceremony_timeout, self._check_sites, run, self._journal
        )

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

    # --- rounds -----------------------------------------------------------------------------------------------

    def _round(self, step: int, sums: EncryptedSums, last: Closed | None, run: Exchange) -> Closed:
        """Train at the sites, add what they send, unmask."""
        number = step + 1
        message = round_message(sums.roster, step, self._num_rounds, TRAIN, last)
        sums.open_round(step)
        self._journal.phase("training")
        self._journal.round_started(number, message.size)
        metrics.round_started(number, self._num_rounds, self._configured, self._round_timeout)
        if last is not None:
            metrics.sum_sent(message.size * len(sums.sites))
        start = time.monotonic()
        refused = run.run(
            self._train_task,
            dict.fromkeys(sums.sites, message),
            self._round_timeout,
            lambda answer: self._accept_update(sums, answer),
        )
        answered = self._journal.answered_sites()
        # A site that could not open the message is behind, like one that did not answer: keys and model come anew.
        closed_out = {site for site, why in refused.items() if why == ReturnCode.TASK_DATA_FILTER_ERROR}
        self._keys.away |= (set(refused) - answered) | closed_out
        contributors = sums.contributors

        def ended(outcome: metrics.RoundOutcome) -> None:
            metrics.round_ended(outcome, self._configured, contributors, time.monotonic() - start)

        try:
            self._check_sites(contributors, sums.least(self._settings.min_sites), f"round {number}")
            self._reveal(sums, run)
            closed = sums.close()
        except JobFailedError:
            ended(metrics.RoundOutcome.BELOW_QUORUM)
            raise
        except ProtocolError:
            ended(metrics.RoundOutcome.FAILED)
            raise
        self._journal.round_ended(contributors, sums.seconds)
        ended(metrics.RoundOutcome.COMPLETED)
        run.log(f"round {number}: {', '.join(contributors)}")
        return closed

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

    def _reveal(self, sums: EncryptedSums, run: Exchange) -> None:
        """With masks: collect the shares of this set of sites from those that are there, until they suffice."""
        if not sums.parameters.encryption.masks:
            return
        data = {site: sums.question(site) for site in sums.sites if site not in self._keys.away}
        run.run(TASK_REVEAL, data, self._ceremony_timeout, taking(sums.revealed), enough=lambda: sums.unmasked)

    def _finish(self, sums: EncryptedSums, last: Closed | None, run: Exchange) -> None:
        """The last sum goes down; every site keeps the final model."""
        self._journal.phase("finishing")
        message = round_message(sums.roster, self._num_rounds, self._num_rounds, FINISH, last)
        metrics.sum_sent(message.size * len(sums.sites))

        def accept(answer: Answer) -> None:
            numbers = _numbers(answer.result.get_header(HEADER_METRICS))
            self._journal.finished(answer.site, SiteRound(answer.seconds, 0, numbers, refusal(answer.result)))

        sites = [site for site in sums.sites if site not in self._keys.away]
        lost = run.run(self._finish_task, dict.fromkeys(sites, message), self._round_timeout, accept)
        self._check_sites([site for site in sites if site not in lost], self._settings.min_sites, "the end of the job")
        self._journal.phase("finished")

    def _check_sites(self, present: Sequence[str], least: int, when: str) -> None:
        missing = self._required - set(present)
        if missing:
            raise JobFailedError(f"{when}: required site {', '.join(sorted(missing))} is missing")
        if len(present) < least:
            raise JobFailedError(f"{when}: {len(present)} sites, at least {least} are required")


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
