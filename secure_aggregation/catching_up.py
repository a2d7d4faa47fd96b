"""How a site that missed sums gets back in: another site seals to it what it missed.

*state_request* (server → site): body: the round's message with the last sum, which the site opens first; nothing when
a job is resumed.

*state* (site → server → sites): signed header with the last sum's round and contributors; body: the running total of
all opened means, float32, sealed under the group key of the epoch that both are in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from secure_aggregation import keys, messages
from secure_aggregation.ceremony import Roster, Sign, Wire, expect
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import verify_signature
from secure_aggregation.layout import Vector
from secure_aggregation.optimizer import STATE_VECTORS, ServerOptimizer

STATE_REQUEST = "state_request"
STATE = "state"


@dataclass(frozen=True)
class RunningTotal:
    """Where a job's model is, relative to its start.

    Attributes
    ----------
    step
        The last opened sum; -1 before the first.
    contributors
        Of that sum.
    vector
        The sum of all steps so far; with full weights, the last mean.
    moments
        State of the server optimiser.
    """

    step: int
    contributors: tuple[str, ...]
    vector: Vector
    moments: tuple[Vector, ...] = ()

    @classmethod
    def start(cls, size: int, optimizer: ServerOptimizer) -> RunningTotal:
        """Before the first sum."""
        return cls(-1, (), np.zeros(size, np.float32), optimizer.start(size))

    def after(
        self,
        step: int,
        contributors: tuple[str, ...],
        mean: Vector,
        optimizer: ServerOptimizer,
        auxiliary: slice,
        sites: int,
    ) -> tuple[RunningTotal, Vector]:
        """After one more mean of differences; with it the step that the model makes.

        Parameters
        ----------
        auxiliary
            Part of the vector that is not optimised (control variates of SCAFFOLD and the like): its step is the mean
            times the part of the sites that contributed, as a site that did not has changed nothing.
        sites
            Of the epoch.
        """
        move, moments = optimizer.step(self.moments, mean)
        if auxiliary.stop > auxiliary.start:
            move = move.copy() if move is mean else move
            move[auxiliary] = mean[auxiliary] * np.float32(len(contributors) / sites)
        return RunningTotal(step, contributors, self.vector + move, moments), move

    @property
    def digest(self) -> bytes:
        """SHA-256 of the model and the optimiser's state: equal at all sites that opened the same sums."""
        found = hashlib.sha256(messages.canonical([self.step, len(self.moments)]))
        for part in (self.vector, *self.moments):
            found.update(np.ascontiguousarray(part, "<f4").data)
        return found.digest()


def request(roster: Roster, last: messages.Buffer = b"") -> Wire:
    """The server's question to a site that was there all the time; ``last`` is the round's message with the last
    sum, if it is not opened yet.
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
    clear = np.concatenate((total.vector, *total.moments)).astype("<f4").tobytes()
    body = keys.seal(key, clear, _context(roster, site, total.step))
    return messages.encode(STATE, fields, sign, body)


def read_state(
    wire: messages.Buffer, roster: Roster, size: int, optimizer: ServerOptimizer, group: bytes
) -> RunningTotal:
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
    vectors = 1 + STATE_VECTORS[optimizer.name]
    if len(clear) != 4 * size * vectors:
        raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} sent a running total of another length")
    vector, *moments = np.frombuffer(clear, "<f4").astype(np.float32).reshape(vectors, size)
    return RunningTotal(step, tuple(message.names("contributors")), vector, tuple(moments))
