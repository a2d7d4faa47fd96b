"""The executor of the key ceremony's tasks."""

from __future__ import annotations

import logging

from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal

from client_plugin.privacy.session import HEADER_REASON, NotSentError, payload_of, session_of
from secure_aggregation.errors import ProtocolError

TASK_ANNOUNCE = "fedpacs_announce"
TASK_KEYS = "fedpacs_keys"
TASK_CONFIRM = "fedpacs_confirm"
TASK_READY = "fedpacs_ready"

log = logging.getLogger(__name__)


class CeremonyExecutor(Executor):
    """Hands the ceremony's messages to the job's session, and its answers to the server."""

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """See :class:`nvflare.apis.executor.Executor`."""
        try:
            session = session_of(fl_ctx)
            payload = payload_of(shareable)
            if payload is None:
                return make_reply(ReturnCode.BAD_TASK_DATA)
            if task_name == TASK_ANNOUNCE:
                return session.release(session.site.announce(payload))
            if task_name == TASK_KEYS:
                return session.release(session.site.share(payload))
            if task_name == TASK_CONFIRM:
                return session.release(session.site.confirm(payload))
            if task_name == TASK_READY:
                session.site.ready(payload)
                return make_reply(ReturnCode.OK)
            return make_reply(ReturnCode.TASK_UNKNOWN)
        except ProtocolError as error:
            log.error("%s refused: %s", task_name, error)  # noqa: TRY400 - the reason says it all
            return make_reply(ReturnCode.EXECUTION_EXCEPTION, {HEADER_REASON: error.reason.value})
        except NotSentError as error:
            log.error("%s refused: %s", task_name, error)  # noqa: TRY400
            return make_reply(ReturnCode.EXECUTION_EXCEPTION)
