"""The hospital's two gates: nothing leaves unless sealed, nothing enters unless it opens.

Both belong into the default scope of the hospital's ``local/privacy.json``, where no job can leave them out, and
raise where they cannot do their work: NVFlare then answers the server with an error code and sends nothing else.
(NVFlare's ``DXOFilter`` lets the raw update pass in such a case, so these derive from ``Filter``.)
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Mapping
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.filter import Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.app_common.app_constant import AppConstants

from client_plugin.privacy.kit import NotSentError
from client_plugin.privacy.session import (
    HEADER_CONTRIBUTORS,
    HEADER_METRICS,
    HEADER_REASON,
    PAYLOAD,
    AggregationSession,
    audit,
    payload_of,
    session_of,
)
from secure_aggregation import catching_up, ceremony, messages, revealing, rounds
from secure_aggregation.errors import ProtocolError, Reason

META_WEIGHT = "fedpacs.weight"
META_METRICS = "fedpacs.metrics"
PROTOCOL_KINDS = frozenset(
    {
        ceremony.ANNOUNCE,
        ceremony.ROSTER,
        ceremony.DELIVERY,
        ceremony.READY,
        revealing.REVEAL,
        catching_up.STATE_REQUEST,
        catching_up.STATE,
    }
)

log = logging.getLogger(__name__)


class OpenAggregate(Filter):
    """Task data, inward: opens the sum and hands it to the executor as ``DXO(WEIGHT_DIFF)`` or ``DXO(WEIGHTS)``.

    Only the three things the consortium's server has to say come through: nothing, a message for the ceremony's
    executor, a round.
    """

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """See :class:`nvflare.apis.filter.Filter`."""
        payload = payload_of(shareable)
        if payload is None:
            return _with_headers_of(shareable, Shareable())
        kind = messages.kind_of(payload)
        if kind in PROTOCOL_KINDS:
            return _with_headers_of(shareable, Shareable({PAYLOAD: payload}))
        if kind != rounds.ROUND:
            raise NotSentError("the server sent something that is no message to a site")
        session = session_of(fl_ctx)
        try:
            instruction = session.begin(payload)
        except ProtocolError as error:
            audit("round", error, fl_ctx)
            raise
        opened = instruction.opened
        kind = kind_of_data(session)
        data = DXO(kind, data=session.opened_tensors(opened)).to_shareable() if opened else Shareable()
        out = _with_headers_of(shareable, data)
        out.set_header(AppConstants.CURRENT_ROUND, instruction.step)
        out.set_header(AppConstants.NUM_ROUNDS, instruction.rounds)
        out.set_header(HEADER_CONTRIBUTORS, list(opened.contributors) if opened else [])
        return out


class SealUpdate(Filter):
    """Task result, outward: seals updates; lets pass what cannot carry data; refuses everything else."""

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """See :class:`nvflare.apis.filter.Filter`."""
        session = session_of(fl_ctx)
        if shareable.get_return_code() != ReturnCode.OK:
            return session.sealed(_error(shareable))
        content = {key: value for key, value in shareable.items() if not key.startswith("__")}
        if not content:
            return session.sealed(Shareable())
        if set(content) == {PAYLOAD}:
            if not session.take_released(content[PAYLOAD]):
                raise NotSentError("a result in the shape of a protocol message that this site's session did not make")
            return session.sealed(Shareable({PAYLOAD: content[PAYLOAD]}))
        dxo = from_shareable(shareable)
        allowed = session.share_metrics
        if dxo.data_kind == DataKind.METRICS:
            out = Shareable()
            out.set_header(HEADER_METRICS, shared(dxo.data, allowed))
            return session.sealed(out)
        if dxo.data_kind != kind_of_data(session):
            raise NotSentError(
                f"a result of kind {str(dxo.data_kind)[:32]!r}: only {kind_of_data(session)} and METRICS"
            )
        weight = dxo.get_meta_prop(META_WEIGHT)
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise NotSentError(f"the update's meta has no number '{META_WEIGHT}'")
        try:
            out = Shareable({PAYLOAD: session.seal(dxo.data, float(weight))})
        except ProtocolError as error:
            audit("update", error, fl_ctx)
            raise
        out.set_header(HEADER_METRICS, shared(dxo.get_meta_prop(META_METRICS, {}), allowed))
        return session.sealed(out)


def kind_of_data(session: AggregationSession) -> DataKind:
    """The kind of data that this job's updates are."""
    return DataKind.WEIGHTS if session.settings.full_weights else DataKind.WEIGHT_DIFF


def shared(values: Any, allowed: Collection[str]) -> dict[str, float]:
    """The metrics that the site's policy lets leave in clear: named there, and finite numbers."""
    if not isinstance(values, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in values.items()
        if name in allowed and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def _error(result: Shareable) -> Shareable:
    """An error without anything in it: the code if it is one of NVFlare's, the protocol's reason if it is one of
    ours.
    """
    code = result.get_return_code()
    known = {value for name, value in vars(ReturnCode).items() if name.isupper()}
    reply = make_reply(code if code in known else ReturnCode.EXECUTION_EXCEPTION)
    reason = result.get_header(HEADER_REASON)
    if isinstance(reason, str) and reason in set(Reason):
        reply.set_header(HEADER_REASON, reason)
    return reply


def _with_headers_of(source: Shareable, target: Shareable) -> Shareable:
    for key, value in source.get(ReservedHeaderKey.HEADERS, {}).items():
        if target.get_header(key) is None:
            target.set_header(key, value)
    return target
