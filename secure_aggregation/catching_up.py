"""How a site that missed sums gets back in: another site seals to it what it missed.

*state_request* (server → site): body: the round's message with the last sum, which the site opens first.

*state* (site → server → sites): signed header with the last sum's round and contributors; body: the running total of
all opened means, float32, sealed under the group key of the epoch that both are in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secure_aggregation import keys, messages
from secure_aggregation.ceremony import Roster, Sign, Wire, expect
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import verify_signature
from secure_aggregation.layout import Vector

STATE_REQUEST = "state_request"
STATE = "state"


@dataclass(frozen=True)
class RunningTotal:
    """The sum of all opened means of a job so far: what the model has moved from its start.

    Attributes
    ----------
    step
        The last opened sum; -1 before the first.
    contributors
        Of that sum.
    """

    step: int
    contributors: tuple[str, ...]
    vector: Vector

    def plus(self, step: int, contributors: tuple[str, ...], mean: Vector) -> RunningTotal:
        """After one more sum."""
        return RunningTotal(step, contributors, self.vector + mean)


def request(roster: Roster, last: Wire) -> Wire:
    """The server's question to a site that was there all the time; ``last`` is the round's message with the last
    sum.
    """
    return messages.encode(STATE_REQUEST, {"job": roster.job, "epoch": roster.epoch}, None, last)


def _context(roster: Roster, site: str, step: int) -> bytes:
    return messages.canonical([roster.transcript.hex(), site, step])


def state(roster: Roster, site: str, total: RunningTotal, group: bytes, sign: Sign) -> Wire:
    """Write a site's answer."""
    fields = {
        "job": roster.job,
        "epoch": roster.epoch,
        "site": site,
        "step": total.step,
        "contributors": list(total.contributors),
    }
    key = keys.derive(group, "running total")
    body = keys.seal(key, total.vector.astype("<f4").tobytes(), _context(roster, site, total.step))
    return messages.encode(STATE, fields, sign, body)


def read_state(wire: messages.Buffer, roster: Roster, size: int, group: bytes) -> RunningTotal:
    """Check and open it at the site that was away.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message = messages.decode(wire, STATE)
    expect(message, roster.job, roster.epoch)
    site, step = message.text("site"), message.number("step")
    member = roster.members.get(site)
    if member is None:
        raise ProtocolError(Reason.UNKNOWN_SITE, "a running total of a site that is not in the roster")
    verify_signature(member.public_key, message.signed, message.signature, site)
    clear = keys.unseal(keys.derive(group, "running total"), message.body.tobytes(), _context(roster, site, step))
    if len(clear) != 4 * size:
        raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} sent a running total of another length")
    return RunningTotal(step, tuple(message.names("contributors")), np.frombuffer(clear, "<f4").astype(np.float32))
