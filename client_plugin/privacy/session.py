"""The hospital's side of the aggregation in one job: its keys, the policy's floor, what may leave.

``AggregationSession`` is a component of the job's client configuration; the job says what it wants of the aggregation
and the hospital's policy says what is the least. The filters of the hospital's ``local/privacy.json`` and the
ceremony's executor find it through the engine, and accept exactly this class. A job without it can send nothing.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import FLContextKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.shareable import ReservedHeaderKey, Shareable
from nvflare.apis.utils.fl_context_utils import add_job_audit_event

from client_plugin.metrics import instruments as metrics
from client_plugin.metrics.labels import RoundEnd, SealingStep
from client_plugin.privacy.kit import Kit, NotSentError
from client_plugin.privacy.memory import Memory
from observability import logs
from secure_aggregation.ceremony import Settings
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout
from secure_aggregation.opening import Opened
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.parameters import Encryption
from secure_aggregation.rounds import FINISH
from secure_aggregation.site import Instruction, Site

PAYLOAD = "fedpacs"
"""Key of the one array in a Shareable."""
HEADER_METRICS = "fedpacs.metrics"
HEADER_REASON = "fedpacs.reason"
HEADER_CONTRIBUTORS = "fedpacs.contributors"

log = logging.getLogger(__name__)
Wire = npt.NDArray[np.uint8]


def payload_of(shareable: Shareable) -> Wire | None:
    """The protocol message in a Shareable, or None when it has none.

    Raises
    ------
    ProtocolError
        ``malformed``: something else is under the key, or beside it.
    """
    content = {key: value for key, value in shareable.items() if not key.startswith("__")}
    if not content:
        return None
    payload = content.pop(PAYLOAD, None)
    if content or not isinstance(payload, np.ndarray) or payload.dtype != np.uint8 or payload.ndim != 1:
        raise ProtocolError(Reason.MALFORMED, "the server's message is not one array of bytes")
    return payload


class AggregationSession(FLComponent):
    """One job's aggregation at one site.

    Parameters
    ----------
    encryption
        ``he+masks``, ``he`` or ``masks``.
    bits
        Precision of a value: 16, 21 or 24.
    clip
        Bound on the absolute value of an update's elements; larger ones are clipped and counted.
    max_weight
        Bound on a site's weight; precision is best when it is not much above the largest weight.
    min_sites
        Sites that must take part, and whose updates must be in a sum, before this site sends or opens anything.
    min_share
        Least weight of a sum, as a share of the largest sum of this job so far; a smaller one is not opened.
    full_weights
        Whether the executor sends weights (``DataKind.WEIGHTS``) and gets their mean, instead of differences.
    server_optimizer
        FedOpt, run at the sites: ``{"name": "fedadam", "learning_rate": ...}``
        (:class:`secure_aggregation.optimizer.ServerOptimizer`). Default: the mean is the step.
    keep_local
        Regular expressions; tensors whose names they find somewhere are not sent: the executor gets zeros for them (no
        change), and with full weights nothing; the values that it trained are its to keep. For FedBN: the layers of
        batch normalisation with their running statistics.
    """

    def __init__(
        self,
        encryption: str = "he+masks",
        bits: int = 24,
        clip: float = 1.0,
        max_weight: float = 65536.0,
        min_sites: int = 3,
        min_share: float = 0.0,
        full_weights: bool = False,
        server_optimizer: dict[str, Any] | None = None,
        keep_local: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.settings = Settings(
            Encryption(encryption),
            int(bits),
            float(clip),
            float(max_weight),
            int(min_sites),
            float(min_share),
            bool(full_weights),
            ServerOptimizer.from_job(server_optimizer),
        )
        self._keep_local = tuple(re.compile(pattern) for pattern in keep_local)
        self._kept: dict[str, tuple[int, ...]] = {}
        self.share_metrics: frozenset[str] = frozenset()
        self._site: Site | None = None
        self._layout: Layout | None = None
        self._memory: Memory | None = None
        self._finishing = False
        self._released: list[Wire] = []
        self._sealed: tuple[Shareable, dict[str, Any], dict[str, Any]] | None = None

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Start and end with the run; look at what the last filter left over."""
        if event_type == EventType.START_RUN:
            self._start(fl_ctx)
        elif event_type == EventType.END_RUN:
            self._end()
        elif event_type == EventType.AFTER_TASK_RESULT_FILTER:
            self._check_result(fl_ctx.get_prop(FLContextKey.TASK_RESULT))

    def declare_layout(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Say which tensors this job trains, at START_RUN: sites compare them before anything is trained, and a site
        that misses a round can open its sum."""
        self._kept = {name: tuple(shape) for name, shape in shapes.items() if self.is_local(name)}
        self._layout = Layout.declare({name: shape for name, shape in shapes.items() if name not in self._kept})
        if self._site is not None:
            self._declared(self._site, self._layout)

    def _declared(self, site: Site, layout: Layout) -> None:
        site.declare_layout(layout)
        if self._memory is not None:
            self._memory.restore(site)

    @property
    def site(self) -> Site:
        """The protocol's state machine.

        Raises
        ------
        NotSentError
            The session could not start.
        """
        if self._site is None:
            raise NotSentError("the aggregation session is not running; its log of the job's start names the cause")
        return self._site

    def begin(self, payload: Wire) -> Instruction:
        """Open a round's message, measured."""
        try:
            instruction = self.site.begin(payload)
        except ProtocolError:
            metrics.SEALING_FAILURES.inc(SealingStep.OPEN)
            raise
        logs.always(round=instruction.step + 1)
        self._finishing = instruction.purpose == FINISH
        if self._memory is not None:
            self._memory.keep_model(self.site)
        self.keep_keys()
        if instruction.opened is not None:
            metrics.SEALING_SECONDS.observe(SealingStep.OPEN, self._seconds("open"))
            metrics.SEALING_BYTES.inc(SealingStep.DOWNLOAD, payload.size)
            if self.settings.encryption.he:
                metrics.NOISE_BUDGET.set(instruction.opened.noise_budget)
        return instruction

    def seal(self, tensors: dict[str, npt.NDArray[np.generic]], weight: float) -> Wire:
        """Make the round's update, measured."""
        try:
            self._kept |= {name: tensor.shape for name, tensor in tensors.items() if self.is_local(name)}
            wire = self.site.seal({n: t for n, t in tensors.items() if n not in self._kept}, weight)
        except ProtocolError:
            metrics.SEALING_FAILURES.inc(SealingStep.ENCRYPT)
            metrics.ROUNDS.inc(RoundEnd.NOT_SENT)
            raise
        self.keep_keys()
        metrics.ROUNDS.inc(RoundEnd.CONTRIBUTED)
        metrics.LAST_CONTRIBUTION.set_to_current_time()
        for step in (SealingStep.ENCODE, SealingStep.MASK, SealingStep.ENCRYPT, SealingStep.SERIALIZE):
            metrics.SEALING_SECONDS.observe(step, self._seconds(step.value))
        metrics.SEALING_BYTES.inc(SealingStep.UPLOAD, wire.size)
        if self.site.timings.clipped_values:
            log.warning("%d values of the update were clipped", self.site.timings.clipped_values)
        return wire

    def opened_tensors(self, opened: Opened) -> dict[str, npt.NDArray[np.float32]]:
        """What the executor gets: the opened tensors, and zeros for those that stay local."""
        if self.settings.full_weights:
            return opened.tensors
        return {**opened.tensors, **{name: np.zeros(shape, np.float32) for name, shape in self._kept.items()}}

    def keep_own(self, data: bytes) -> None:
        """Keep, sealed, what the executor alone has (tensors that stay local and the like), for a process that has to
        go on from here."""
        if self._memory is not None:
            self._memory.keep_own(data)

    def kept_own(self) -> bytes | None:
        """What an earlier process of this job, or of the one that it resumes, kept so."""
        return self._memory.own(self.site) if self._memory is not None else None

    def is_local(self, name: str) -> bool:
        """Whether the job keeps the tensor of this name at the site."""
        return any(pattern.search(name) for pattern in self._keep_local)

    def release(self, payload: Wire) -> Shareable:
        """Let one message of the ceremony pass the filter, once. What it gives away is on record before it leaves."""
        self.keep_keys()
        self._released = [payload]
        return Shareable({PAYLOAD: payload})

    def keep_keys(self) -> None:
        """Keep the state of the keys on disk, sealed."""
        if self._memory is not None:
            self._memory.keep_keys(self.site)

    def take_released(self, payload: Any) -> bool:
        """Whether ``payload`` is the very message that was released; it is used up by the question."""
        released, self._released = self._released, []
        return any(payload is one for one in released)

    def sealed(self, result: Shareable) -> Shareable:
        """Remember what the site's filter let pass."""
        content = {key: value for key, value in result.items() if key != ReservedHeaderKey.HEADERS}
        self._sealed = result, content, copy.deepcopy(result[ReservedHeaderKey.HEADERS])
        if self._finishing and self._memory is not None and result.get_return_code() == ReturnCode.OK:
            self._memory.finished = True
        return result

    def _seconds(self, step: str) -> float:
        return self.site.timings.seconds.get(step, 0.0)

    def _start(self, fl_ctx: FLContext) -> None:
        workspace = fl_ctx.get_prop(FLContextKey.WORKSPACE_OBJECT)
        job, meta = str(fl_ctx.get_job_id()), fl_ctx.get_prop(FLContextKey.JOB_META) or {}
        source = meta.get(JobMetaKey.CLONED_FROM.value)
        try:
            kit = Kit.open(workspace, fl_ctx.get_identity_name())
            kit.check(self.settings)
            memory = Memory.open(kit.node, workspace, job, source) if kit.node else None
            site = Site(kit.name, job, self.settings, kit.credentials, kit.authority, resumes=source is not None)
            self.share_metrics = frozenset(kit.policy.share_metrics)
            self._site, self._memory = site, memory
            if self._layout is not None:
                self._declared(site, self._layout)
        except Exception as error:  # noqa: BLE001 - whatever it is, the session stays shut
            # NVFlare swallows what an event handler raises; every task of the job will fail instead.
            self._site = self._memory = None
            log.error("the aggregation session does not start: %s", error)  # noqa: TRY400 - no traceback with paths
        else:
            log.info("aggregation '%s', %d bits", self.settings.encryption.value, self.settings.bits)

    def _end(self) -> None:
        if self._site is not None:
            self._site.destroy()
        if self._memory is not None:
            self._memory.end()
        self._site = self._memory = None

    def _check_result(self, result: Any) -> None:
        """A job's own result filters run after the hospital's. None of them may change what the hospital let pass."""
        if not isinstance(result, Shareable):
            return  # NVFlare sends an error instead
        if self._sealed is not None:
            sealed, content, headers = self._sealed
            same = {key: value for key, value in result.items() if key != ReservedHeaderKey.HEADERS}
            unchanged = same.keys() == content.keys() and all(same[key] is content[key] for key in content)
            if result is sealed and unchanged and result[ReservedHeaderKey.HEADERS] == headers:
                return
        log.error("a filter of the job replaced the sealed result: it is emptied")
        result.clear()
        result.set_return_code(ReturnCode.TASK_RESULT_FILTER_ERROR)


def audit(what: str, error: ProtocolError, fl_ctx: FLContext) -> None:
    """Write a refusal into the log and into the site's audit log (NVFlare's ``audit.log``)."""
    log.error("%s refused: %s", what, error)
    add_job_audit_event(fl_ctx=fl_ctx, msg=f"aggregation: {what} refused: {error}")


def session_of(fl_ctx: FLContext) -> AggregationSession:
    """The job's session.

    Raises
    ------
    NotSentError
        The job has none, several, or one of a derived class.
    """
    components = fl_ctx.get_engine().get_all_components()
    found = [c for c in components.values() if isinstance(c, AggregationSession)]
    if len(found) != 1 or type(found[0]) is not AggregationSession:
        raise NotSentError("the job needs exactly one component client_plugin.privacy.session.AggregationSession")
    return found[0]
