"""The executor of the tasks that the aggregation needs besides training: keys, shares, catching up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from client_plugin.privacy.kit import NotSentError
from client_plugin.privacy.session import HEADER_REASON, Wire, audit, payload_of, session_of
from secure_aggregation.errors import ProtocolError
from secure_aggregation.site import Site

TASK_ANNOUNCE = "fedpacs_announce"
TASK_KEYS = "fedpacs_keys"
TASK_CONFIRM = "fedpacs_confirm"
TASK_READY = "fedpacs_ready"
TASK_REVEAL = "fedpacs_reveal"
TASK_PING = "fedpacs_ping"
TASK_STATE = "fedpacs_state"
TASK_CATCH_UP = "fedpacs_catch_up"

ANSWERED: Mapping[str, Callable[[Site, Wire], Wire]] = {
    TASK_ANNOUNCE: Site.announce,
    TASK_KEYS: Site.share,
    TASK_CONFIRM: Site.confirm,
    TASK_REVEAL: Site.reveal,
    TASK_STATE: Site.state_of,
}
TAKEN: Mapping[str, Callable[[Site, Wire], None]] = {TASK_READY: Site.ready, TASK_CATCH_UP: Site.catch_up}

log = logging.getLogger(__name__)


class CeremonyExecutor(Executor):
    """Hands the protocol's messages to the job's session, and its answers to the server."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """See :class:`nvflare.apis.executor.Executor`."""
        try:
            session = session_of(fl_ctx)
            payload = payload_of(shareable)
            if task_name == TASK_PING:
                return make_reply(ReturnCode.OK)
            if payload is None:
                return make_reply(ReturnCode.BAD_TASK_DATA)
            if task_name in TAKEN:
                TAKEN[task_name](session.site, payload)
                session.keep_keys()
                return make_reply(ReturnCode.OK)
            if task_name in ANSWERED:
                return session.release(ANSWERED[task_name](session.site, payload))
            return make_reply(ReturnCode.TASK_UNKNOWN)
        except ProtocolError as error:
            audit(task_name, error, fl_ctx)
            return make_reply(ReturnCode.EXECUTION_EXCEPTION, {HEADER_REASON: error.reason.value})
        except NotSentError as error:
            log.error("%s refused: %s", task_name, error)  # noqa: TRY400
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
