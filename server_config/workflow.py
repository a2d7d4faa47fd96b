"""``EncryptedFedAvg``: federated averaging of updates that the server cannot read.

Ceremony (the hospitals make keys that the server never has), rounds (train, add, with masks reveal, next), finish
(the last sum goes down, every hospital keeps the final model). The model itself is nowhere on the server: it starts
from the job's seed at the sites and lives there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nvflare.apis.client import Client
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace
from nvflare.widgets.info_collector import GroupInfoCollector, InfoCollector

from secure_aggregation import catching_up, simulation
from secure_aggregation.ceremony import Settings, Wire
from secure_aggregation.errors import ProtocolError
from secure_aggregation.identity import Authority, common_name
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import FINISH, TRAIN, Closed, round_message
from secure_aggregation.server import Ceremony
from server_config import metrics
from server_config.aggregator import EncryptedSums
from server_config.exchange import Answer, Exchange, JobFailedError, refusal, taking
from server_config.progress import Journal, Progress, SiteRound

TASK_ANNOUNCE = "fedpacs_announce"
TASK_KEYS = "fedpacs_keys"
TASK_CONFIRM = "fedpacs_confirm"
TASK_READY = "fedpacs_ready"
TASK_REVEAL = "fedpacs_reveal"
TASK_PING = "fedpacs_ping"
TASK_STATE = "fedpacs_state"
TASK_CATCH_UP = "fedpacs_catch_up"
HEADER_METRICS = "fedpacs.metrics"
ROUNDS_FILE = "rounds.json"
_MAX_METRICS = 32
_PING_SECONDS = 2
_NOTHING: Wire = np.empty(0, np.uint8)


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
        self._epoch = 0
        self._away: set[str] = set()
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
            sums = self._ceremony(self._configured, run)
            closed: Closed | None = None
            for step in range(self._resume(sums, run), self._num_rounds):
                if closed is not None:
                    sums = self._renew(step, sums, closed, run)
                closed = self._round(step, sums, closed, run)
            self._finish(sums, closed, run)
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

    # --- keys -------------------------------------------------------------------------------------------------

    def _ceremony(self, sites: Collection[str], run: Exchange) -> EncryptedSums:
        """Run ceremonies until one completes with the sites that are left."""
        self._journal.phase("ceremony")
        assert self._authority is not None  # noqa: S101 - start_controller came first
        left = sorted(sites)
        start = time.monotonic()
        while True:
            self._check_sites(left, self._settings.min_sites, "the key ceremony")
            ceremony = Ceremony(run.job, self._epoch, self._settings, self._authority)
            self._epoch += 1
            lost = self._ceremony_once(ceremony, left, run)
            if not lost:
                break
            self._away |= lost
            left = [site for site in left if site not in lost]
            run.log(f"key ceremony again, without {', '.join(sorted(lost))}")
        roster = ceremony.roster()
        self._away -= set(left)
        self._journal.ceremony(left, time.monotonic() - start)
        run.log(f"keys of epoch {roster.epoch}: {', '.join(left)}; {roster.transcript.hex()[:16]}")
        return EncryptedSums(roster, self._settings.parameters(len(left)), ceremony.layout)

    def _ceremony_once(self, ceremony: Ceremony, sites: list[str], run: Exchange) -> set[str]:
        """One ceremony; the answer is the sites that failed in it."""

        def step(task: str, data: Callable[[str], Wire], take: Callable[[str, Wire], None]) -> set[str]:
            return set(run.run(task, {site: data(site) for site in sites}, self._ceremony_timeout, taking(take)))

        request = ceremony.request()
        lost = step(TASK_ANNOUNCE, lambda _: request, ceremony.announced)
        if not lost:
            roster = ceremony.roster().message()
            lost = step(TASK_KEYS, lambda _: roster, ceremony.shared)
        if not lost:
            lost = step(TASK_CONFIRM, ceremony.delivery, ceremony.confirmed)
        if not lost:
            ready = ceremony.ready()
            lost = step(TASK_READY, lambda _: ready, lambda _site, _wire: None)
        return lost

    def _renew(self, step: int, sums: EncryptedSums, closed: Closed, run: Exchange) -> EncryptedSums:
        """Between two rounds: new keys when they are due, when a site dropped out, or when one is back."""
        back = self._returned(run) if self._away else set()
        due = self._rekey_rounds and step % self._rekey_rounds == 0
        # Whoever was not in a masked sum has a mask key that the others know now.
        exposed = sums.parameters.encryption.masks and {u.site for u in closed.updates} != set(sums.sites)
        if not (due or exposed or back or self._away & set(sums.sites)):
            return sums
        renewed = self._ceremony((set(sums.sites) - self._away) | back, run)
        # A site that started again without its keys has come to the ceremony like the others, and is behind too.
        behind = back & set(renewed.sites) | set(renewed.roster.behind(closed.step - 1))
        self._catch_up(renewed, closed, behind, run)
        return renewed

    def _resume(self, sums: EncryptedSums, run: Exchange) -> int:
        """The first round: the one after the last sum that a hospital's model has, if this job resumes another."""
        latest = sums.roster.standing
        if latest >= 0:
            self._journal.resumed(latest + 1)
            run.log(f"resumed after round {latest + 1}")
            self._catch_up(sums, None, set(sums.roster.behind(latest)), run)
        return latest + 1

    def _returned(self, run: Exchange) -> set[str]:
        """Which of the sites that were away answer again."""
        data = dict.fromkeys(sorted(self._away), _NOTHING)
        return self._away - set(run.run(TASK_PING, data, _PING_SECONDS))

    def _catch_up(self, sums: EncryptedSums, closed: Closed | None, behind: set[str], run: Exchange) -> None:
        """Have a site that was there all the time open the last sum, and seal to the others what they missed."""
        if not behind:
            return
        source = next((site for site in sums.sites if site not in behind), None)
        if source is None:
            raise JobFailedError("no site has the keys of the last sum any more: clone the job to go on from before it")
        taken: list[Wire] = []
        last = b"" if closed is None else round_message(sums.roster, closed.step + 1, 0, TRAIN, closed)
        request = catching_up.request(sums.roster, last)
        run.run(TASK_STATE, {source: request}, self._ceremony_timeout, taking(lambda _, wire: taken.append(wire)))
        if not taken:
            raise JobFailedError(f"{source} did not hand on the state of the model to {', '.join(behind)}")
        run.run(TASK_CATCH_UP, dict.fromkeys(behind, taken[0]), self._ceremony_timeout)

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
        self._away |= (set(refused) - answered) | closed_out
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
        data = {site: sums.question(site) for site in sums.sites if site not in self._away}
        run.run(TASK_REVEAL, data, self._ceremony_timeout, taking(sums.revealed), enough=lambda: sums.unmasked)

    def _finish(self, sums: EncryptedSums, last: Closed | None, run: Exchange) -> None:
        """The last sum goes down; every site keeps the final model."""
        self._journal.phase("finishing")
        message = round_message(sums.roster, self._num_rounds, self._num_rounds, FINISH, last)
        metrics.sum_sent(message.size * len(sums.sites))

        def accept(answer: Answer) -> None:
            numbers = _numbers(answer.result.get_header(HEADER_METRICS))
            self._journal.finished(answer.site, SiteRound(answer.seconds, 0, numbers, refusal(answer.result)))

        sites = [site for site in sums.sites if site not in self._away]
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
