"""A site's half of the protocol: one state machine, no I/O.

::

    idle --announce--> announced --share--> shared --confirm--> confirmed --ready--> ready

In *ready*, :meth:`Site.begin` takes a round's message (opening the last sum on the way), :meth:`Site.seal` makes the
one update of that round, and with masks :meth:`Site.reveal` gives the shares that unmask the sum of exactly one set
of sites. A new ceremony may start in any state; the keys of the epoch before stay until the next sum is opened,
because that sum may still be theirs. A refusal in the ceremony leads back to idle; any other refusal leaves the state
as it was.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from secure_aggregation import catching_up, ceremony, epoch, keeping, messages, opening, revealing, rounds, sealing
from secure_aggregation.ceremony import Settings, Wire
from secure_aggregation.epoch import Epoch, ReadyEpoch, SharedEpoch
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority, Credentials
from secure_aggregation.layout import Layout
from secure_aggregation.opening import Opened
from secure_aggregation.sealing import Timings
from secure_aggregation.standing import Standing

Tensors = Mapping[str, npt.NDArray[np.generic]]
Clock = Callable[[], datetime.datetime]
EpochT = TypeVar("EpochT", bound=Epoch)


class State(StrEnum):
    """Where a site is in the ceremony."""

    IDLE = "idle"
    ANNOUNCED = "announced"
    SHARED = "shared"
    CONFIRMED = "confirmed"
    READY = "ready"


@dataclass(frozen=True)
class Instruction:
    """What a round's message asks for."""

    step: int
    rounds: int
    purpose: str
    opened: Opened | None


class Site:
    """One site in one job.

    Parameters
    ----------
    name
        The site's name, as its certificate has it.
    job
        NVFlare's job id.
    settings
        From the job.
    credentials
        The kit's certificate and key.
    authority
        Decides which certificates are sites'.
    clock
        For the validity of certificates.
    resumes
        Whether this job goes on from another: only then may a site bring a model into the job's first ceremony.
    """

    def __init__(
        self, name: str, job: str, settings: Settings, credentials: Credentials, authority: Authority,
        clock: Clock = lambda: datetime.datetime.now(datetime.UTC), resumes: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self.job = job
        self.settings = settings
        self.timings = Timings()
        self._credentials = credentials
        self._authority = authority
        self._clock = clock
        self._resumes = resumes
        self._layout: Layout | None = None
        self._state = State.IDLE
        self._epoch: Epoch | None = None
        self._previous: dict[int, ReadyEpoch] = {}
        self._last_epoch = -1
        self._step: int | None = None
        self._last_step = -1
        self._model = Standing(settings)
        self._exposed = False
        self._own_shares: dict[int, bytes] = {}
        self._revealed: dict[int, tuple[frozenset[str], Wire]] = {}

    @property
    def state(self) -> State:
        return self._state

    @property
    def standing(self) -> int:
        """The last sum that this site's model has; -1: none."""
        return self._model.step

    @property
    def step(self) -> int | None:
        """The round whose update is due."""
        return self._step

    def declare_layout(self, layout: Layout) -> None:
        """Fix the order of the tensors; once only.

        Raises
        ------
        ProtocolError
            ``layout_differs``: another one was fixed before.
        """
        if self._layout is not None and self._layout != layout:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "the update has other tensors than this job declared")
        self._layout = layout

    def destroy(self) -> None:
        """Forget all keys. The site is idle and refuses everything but a new ceremony."""
        self._epoch = None
        self._previous.clear()
        self._state = State.IDLE
        self._step = None
        self._own_shares.clear()
        self._revealed.clear()

    # --- ceremony ---------------------------------------------------------------------------------------------

    def announce(self, request: messages.Buffer) -> Wire:
        """Start an epoch with fresh keys."""
        message = messages.decode(request, ceremony.ANNOUNCE)
        number = message.number("epoch")
        ceremony.expect(message, self.job, number)
        if number <= self._last_epoch:
            raise ProtocolError(Reason.REPLAY, f"epoch {number} has been; every ceremony needs a new one")
        if isinstance(self._epoch, ReadyEpoch) and self._state is State.READY:
            self._previous[self._epoch.number] = self._epoch
        fresh = Epoch.fresh(number, self.name)
        wire = ceremony.announcement(
            self.job, number, self.name, self.settings, fresh.seal_keys.public, fresh.mask_keys.public,
            self._credentials.certificate, self._credentials.sign, self._model.step,
        )  # fmt: skip
        self._last_epoch = number
        self._epoch = fresh.announced(wire.tobytes())
        self._state = State.ANNOUNCED
        self._step = None
        return wire

    def share(self, roster: messages.Buffer) -> Wire:
        """Check the roster; seal to every other site what it must hold."""
        with self._ceremony(State.ANNOUNCED, Epoch) as current:
            checked = ceremony.read_roster(
                roster, self.job, current.number, current.own, self.name, self.settings, self._authority, self._clock()
            )
            if current.number == 0 and checked.standing >= 0 and not self._resumes:
                raise ProtocolError(Reason.MODELS_DIFFER, "a site brings a model into a job that resumes no other")
            parameters = self.settings.parameters(len(checked.members))
            self._epoch, boxes, body = epoch.share(current, checked, parameters)
            self._state = State.SHARED
            fields = {"job": self.job, "epoch": current.number, "site": self.name, "boxes": boxes}
            return messages.encode(ceremony.SHARES, fields, self._credentials.sign, body)

    def confirm(self, delivery: messages.Buffer) -> Wire:
        """Take the keys out of the boxes; sign the transcript."""
        with self._ceremony(State.SHARED, SharedEpoch) as current:
            message = messages.decode(delivery, ceremony.DELIVERY)
            ceremony.expect(message, self.job, current.number)
            complete = epoch.confirm(current, message)
            self._epoch = complete
            self._state = State.CONFIRMED
            digest = self._layout.digest if self._layout else None
            return ceremony.confirmation(
                complete.roster, self.name, complete.group, digest, self._credentials.sign, self._model.digest
            )

    def ready(self, confirmations: messages.Buffer) -> None:
        """Check that all sites saw and hold the same; from here on updates may be sent."""
        with self._ceremony(State.CONFIRMED, ReadyEpoch) as current:
            digest = self._layout.digest if self._layout else None
            ceremony.read_ready(confirmations, current.roster, self.name, current.group, digest, self._model.digest)
            self._state = State.READY
            self._exposed = False
            self._own_shares.clear()

    # --- rounds -----------------------------------------------------------------------------------------------

    def begin(self, wire: messages.Buffer) -> Instruction:
        """Take a round's message and open the sum it brings.

        Raises
        ------
        ProtocolError
            ``wrong_round``: not later than the last one (a repeated message of the current round is allowed while its
            update is due); ``wrong_sum`` and everything that can be wrong with a sum.
        """
        current = self._ready()
        message = rounds.read_round(wire, current.roster)
        if message.step != self._step and message.step <= self._last_step:
            raise ProtocolError(
                Reason.WRONG_ROUND, f"round {message.step} has been: the last one was {self._last_step}"
            )
        opened = self._model.hand_out(self._layout) if message.sum_step is None else self._open(message)
        if message.purpose == rounds.TRAIN:
            self._step = self._last_step = message.step
        else:
            self._step = None
        return Instruction(message.step, message.rounds, message.purpose, opened)

    def seal(self, tensors: Tensors, weight: float) -> Wire:
        """Make the update of the current round; once.

        Raises
        ------
        ProtocolError
            ``out_of_order``: no update is due, or this epoch's mask key was revealed; ``not_finite``;
            ``layout_differs``.
        """
        current = self._ready()
        if self._step is None:
            raise ProtocolError(Reason.OUT_OF_ORDER, "no update is due: one was made, or no round has begun")
        if self._exposed:
            raise ProtocolError(
                Reason.OUT_OF_ORDER, "this site was dropped from a sum and its mask key revealed: a new ceremony is due"
            )
        step = self._step
        layout = self._layout or Layout.of(tensors)
        self.declare_layout(layout)
        start = time.perf_counter()
        vector = layout.flatten(tensors)
        self.timings.measure("flatten", start)
        parts = sealing.seal(current, step, vector, weight, self.timings)
        self._own_shares[step] = parts.own_share
        start = time.perf_counter()
        wire = rounds.update(
            current.roster, self.name, step, current.layout_tag(layout.digest) or b"", parts, self._credentials.sign
        )
        self.timings.measure("sign", start)
        self.timings.update_bytes = wire.size
        self._step = None
        return wire

    def reveal(self, request: messages.Buffer) -> Wire:
        """Give the shares that unmask the sum of one set of sites: of the contributors' own masks, of the others'
        mask keys.

        Raises
        ------
        ProtocolError
            ``second_reveal``: another set was asked for in this round before; ``too_few_sites``; ``wrong_round``.
        """
        current = self._ready()
        asked = rounds.read_reveal(request, current.roster, self.name, self._least(current))
        contributors = frozenset(asked.contributors)
        before = self._revealed.get(asked.step)
        if before is not None:
            if before[0] != contributors:
                raise ProtocolError(
                    Reason.SECOND_REVEAL, f"the server asked twice for round {asked.step}, with different sets of sites"
                )
            return before[1]
        if asked.step != self._last_step:
            raise ProtocolError(Reason.WRONG_ROUND, f"shares of round {asked.step} in round {self._last_step}")
        purpose = revealing.box_purpose(asked.step)
        shares = {}
        for site in current.roster.sites:
            if site not in contributors:
                shares[site] = current.shares[site]
            elif site == self.name:
                shares[site] = self._own_shares.get(asked.step, b"")
            else:
                shares[site] = current.unbox(site, asked.boxes[site], purpose)
        if self.name not in contributors:
            # The others learn this site's mask key now: no update may be masked with it any more.
            self._exposed = True
            self._step = None
        wire = revealing.revealed(
            current.roster, self.name, asked.step, contributors, current.group, shares, self._credentials.sign
        )
        self._revealed[asked.step] = contributors, wire
        return wire

    # --- catching up ------------------------------------------------------------------------------------------

    def state_of(self, request: messages.Buffer) -> Wire:
        """Seal this site's running total for sites of the roster that were away."""
        current = self._ready()
        message = messages.decode(request, catching_up.STATE_REQUEST)
        ceremony.expect(message, self.job, current.number)
        if message.body.size:
            self._open(rounds.read_round(message.body, current.roster))
        if self._layout is None or self._model.total is None:
            raise ProtocolError(Reason.OUT_OF_ORDER, "no sum was opened yet")
        return catching_up.state(current.roster, self.name, self._model.total, current.group, self._credentials.sign)

    def catch_up(self, wire: messages.Buffer) -> None:
        """Take another site's running total; the next :meth:`begin` hands out what this site missed."""
        current = self._ready()
        if self._layout is None:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "a running total arrived before this site declared its tensors")
        optimizer = self.settings.optimizer
        self._model.catch_up(catching_up.read_state(wire, current.roster, self._layout.size, optimizer, current.group))

    # --- after a restart --------------------------------------------------------------------------------------

    def keep_model(self) -> bytes | None:
        """The model as far as it is opened, for :meth:`take_model` of a later process; None before the first sum."""
        return self._model.keep(self._layout) if self._layout else None

    def take_model(self, kept: bytes) -> None:
        """Go on from a kept model, of this job or of one that this job resumes. The executor, which starts from the
        job's seed, gets all of it with the next message.

        Raises
        ------
        ProtocolError
            ``layout_differs``, ``parameters_differ``: kept by another kind of job; ``malformed``.
        """
        if self._layout is None:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "a kept model, and this job has not declared its tensors")
        self._model.take(kept, self._layout)

    def keep_keys(self) -> bytes | None:
        """The keys of the running epoch and what was done with them; None unless the ceremony is complete."""
        if self._state is not State.READY or not isinstance(self._epoch, ReadyEpoch):
            return None
        used = keeping.Used(self._step, self._last_step, self._exposed, self._own_shares, self._revealed)
        return keeping.pack_keys(self._epoch, used)

    def take_keys(self, kept: bytes) -> None:
        """Go on with kept keys of this job: what was revealed stays revealed.

        Raises
        ------
        ProtocolError
            ``malformed``, or what does not hold any more (a certificate that has ended).
        """
        current, used = keeping.unpack_keys(kept, self.job, self.name, self.settings, self._authority, self._clock())
        self._epoch, self._state, self._last_epoch = current, State.READY, current.number
        self._step, self._last_step, self._exposed = used.step, used.last_step, used.exposed
        self._own_shares, self._revealed = dict(used.own_shares), dict(used.revealed)

    # --- helpers ----------------------------------------------------------------------------------------------

    def _open(self, message: rounds.RoundMessage) -> Opened | None:
        """Open the sum in a round's message, or give the answer of the first time."""
        if message.sum_step == self._model.step:
            return self._model.again(frozenset(message.message.table("contributors")), self._layout)
        source = self._source(message.sum_epoch)
        layout = self._layout
        if layout is None:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "a sum arrived before this site declared its tensors")
        tag = source.layout_tag(layout.digest) or b""
        total = rounds.read_sum(message, source.roster, source.parameters, self._least(source), tag, source.group)
        self._model.check_next(total.step)
        mean, budget = opening.open_sum(source, total, layout.size, self.timings)
        opened = self._model.add(total, mean, budget, layout, len(source.roster.sites))
        if source.parameters.encryption.masks and self.name not in total.contributors and source is self._epoch:
            self._exposed = True
        self._previous.clear()
        return opened

    def _source(self, number: int) -> ReadyEpoch:
        """The epoch that a sum belongs to."""
        current = self._epoch
        if isinstance(current, ReadyEpoch) and current.number == number:
            return current
        if number in self._previous:
            return self._previous[number]
        raise ProtocolError(Reason.WRONG_EPOCH, f"a sum of epoch {number}, whose keys this site does not have")

    def _least(self, current: ReadyEpoch) -> int:
        """Fewest contributors of a sum that this site helps to open."""
        return rounds.least_contributors(self.settings.min_sites, len(current.roster.sites), current.parameters)

    def _ready(self) -> ReadyEpoch:
        if self._state is not State.READY or not isinstance(self._epoch, ReadyEpoch):
            raise ProtocolError(Reason.OUT_OF_ORDER, f"the key ceremony is not complete (state: {self._state})")
        return self._epoch

    @contextmanager
    def _ceremony(self, state: State, kind: type[EpochT]) -> Iterator[EpochT]:
        """A step of the ceremony: the right state before, idle without keys after any failure."""
        current = self._epoch
        if self._state is not state or not isinstance(current, kind):
            raise ProtocolError(Reason.OUT_OF_ORDER, f"expected state {state}, but it is {self._state}")
        try:
            yield current
        except BaseException:
            self._epoch = None
            self._state = State.IDLE
            raise
