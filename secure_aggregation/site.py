"""A site's half of the protocol: one state machine, no I/O.

::

    idle --announce--> announced --share--> shared --confirm--> confirmed --ready--> ready --(next epoch)--> announced
    ...

In *ready*, :meth:`Site.begin` takes a round's message (opening the last sum on the way), :meth:`Site.seal` makes the
one update of that round. Every refusal leaves the state as it was, except in the ceremony: there it is back to idle
and the epoch's keys are gone.
"""

from __future__ import annotations

import datetime
import json
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from secure_aggregation import ceremony, encoding, keys, lattice, messages, packing, rounds
from secure_aggregation.ceremony import Roster, Settings, Wire
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority, Credentials
from secure_aggregation.layout import Layout
from secure_aggregation.parameters import DEGREE, Parameters

Tensors = Mapping[str, npt.NDArray[np.generic]]
Clock = Callable[[], datetime.datetime]


class State(StrEnum):
    """Where a site is in the ceremony."""

    IDLE = "idle"
    ANNOUNCED = "announced"
    SHARED = "shared"
    CONFIRMED = "confirmed"
    READY = "ready"


@dataclass(frozen=True)
class Opened:
    """A sum that was opened and proven to be of the named sites.

    Attributes
    ----------
    step
        Which sum.
    tensors
        Weighted mean by tensor name, float32.
    weight
        Sum of the contributors' weights.
    contributors
        Their names.
    noise_budget
        Bits of noise budget left in the sum; 0 when masks alone protect it.
    """

    step: int
    tensors: dict[str, npt.NDArray[np.float32]] = field(repr=False)
    weight: float
    contributors: tuple[str, ...]
    noise_budget: int


@dataclass(frozen=True)
class Instruction:
    """What a round's message asks for."""

    step: int
    rounds: int
    purpose: str
    opened: Opened | None


@dataclass
class Timings:
    """Seconds and bytes of the last update and the last opening, for metrics."""

    seconds: dict[str, float] = field(default_factory=dict)
    update_bytes: int = 0
    clipped_values: int = 0

    def measure(self, step: str, start: float) -> float:
        now = time.perf_counter()
        self.seconds[step] = now - start
        return now


@dataclass(frozen=True)
class _Epoch:
    """The keys of one epoch. Replaced as a whole, never changed."""

    number: int
    seal_keys: keys.Agreement
    mask_keys: keys.Agreement
    own: bytes
    roster: Roster | None = None
    parameters: Parameters | None = None
    group: bytes = b""
    secret: bytes = b""
    cipher: lattice.Cipher | None = None


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
    """

    def __init__(
        self, name: str, job: str, settings: Settings, credentials: Credentials, authority: Authority,
        clock: Clock = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:  # fmt: skip
        self.name = name
        self.job = job
        self.settings = settings
        self.timings = Timings()
        self._credentials = credentials
        self._authority = authority
        self._clock = clock
        self._layout: Layout | None = None
        self._state = State.IDLE
        self._epoch: _Epoch | None = None
        self._last_epoch = -1
        self._step: int | None = None
        self._last_step = -1
        self._last_opened: Opened | None = None

    @property
    def state(self) -> State:
        return self._state

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
        self._state = State.IDLE
        self._step = None

    # --- ceremony ---------------------------------------------------------------------------------------------

    def announce(self, request: messages.Buffer) -> Wire:
        """Start an epoch with fresh keys."""
        message = messages.decode(request, ceremony.ANNOUNCE)
        number = message.number("epoch")
        ceremony.expect(message, self.job, number)
        if number <= self._last_epoch:
            raise ProtocolError(Reason.REPLAY, f"epoch {number} has been; every ceremony needs a new one")
        self.destroy()
        seal_keys, mask_keys = keys.Agreement.generate(), keys.Agreement.generate()
        wire = ceremony.announcement(
            self.job, number, self.name, self.settings, seal_keys.public, mask_keys.public,
            self._credentials.certificate, self._credentials.sign,
        )  # fmt: skip
        self._last_epoch = number
        self._epoch = _Epoch(number, seal_keys, mask_keys, wire.tobytes())
        self._state = State.ANNOUNCED
        return wire

    def share(self, roster: messages.Buffer) -> Wire:
        """Check the roster; seal to every other site what it must hold."""
        with self._ceremony(State.ANNOUNCED) as epoch:
            checked = ceremony.read_roster(
                roster, self.job, epoch.number, epoch.own, self.name, self.settings, self._authority, self._clock()
            )
            parameters = self.settings.parameters(len(checked.members))
            group, secret, body = b"", b"", b""
            if checked.leader == self.name:
                group = secrets.token_bytes(32)
                if parameters.encryption.he:
                    secret = lattice.generate_secret(lattice.Lattice(parameters))
                    body = keys.seal(keys.derive(group, "secret key"), secret, checked.transcript)
            boxes = {
                site: self._box(checked, epoch, site, {"group": group.hex()}).hex()
                for site in checked.sites
                if site != self.name
            }
            self._epoch = _Epoch(
                epoch.number, epoch.seal_keys, epoch.mask_keys, epoch.own, checked, parameters, group, secret
            )
            self._state = State.SHARED
            return messages.encode(
                ceremony.SHARES,
                {"job": self.job, "epoch": epoch.number, "site": self.name, "boxes": boxes},
                self._credentials.sign,
                body,
            )

    def confirm(self, delivery: messages.Buffer) -> Wire:
        """Take the keys out of the boxes; sign the transcript."""
        with self._ceremony(State.SHARED) as epoch:
            roster, parameters = _known(epoch)
            message = messages.decode(delivery, ceremony.DELIVERY)
            ceremony.expect(message, self.job, epoch.number)
            opened = {
                site: self._unbox(roster, epoch, site, box)
                for site, box in message.table("boxes").items()
                if site != self.name
            }
            if set(opened) != set(roster.members) - {self.name}:
                raise ProtocolError(Reason.MISSING_SHARES, "not every site of the roster sent a box")
            group, secret = epoch.group, epoch.secret
            if roster.leader != self.name:
                group = bytes.fromhex(str(opened[roster.leader].get("group", "")))
                if len(group) != 32:
                    raise ProtocolError(Reason.WRONG_KEY, f"{roster.leader} sent no group key")
                if parameters.encryption.he:
                    secret = keys.unseal(keys.derive(group, "secret key"), message.body.tobytes(), roster.transcript)
            cipher = lattice.Cipher(lattice.Lattice(parameters), secret) if parameters.encryption.he else None
            self._epoch = _Epoch(
                epoch.number, epoch.seal_keys, epoch.mask_keys, epoch.own, roster, parameters, group, secret, cipher
            )
            self._state = State.CONFIRMED
            digest = self._layout.digest if self._layout else None
            return ceremony.confirmation(roster, self.name, group, digest, self._credentials.sign)

    def ready(self, confirmations: messages.Buffer) -> None:
        """Check that all sites saw and hold the same; from here on updates may be sent."""
        with self._ceremony(State.CONFIRMED) as epoch:
            roster, _ = _known(epoch)
            digest = self._layout.digest if self._layout else None
            ceremony.read_ready(confirmations, roster, epoch.group, digest)
            self._state = State.READY

    # --- rounds -----------------------------------------------------------------------------------------------

    def begin(self, wire: messages.Buffer) -> Instruction:
        """Take a round's message and open the sum it brings.

        Raises
        ------
        ProtocolError
            ``wrong_round``: not later than the last one (a repeated message of the current round is allowed while its
            update is due); ``wrong_sum`` and everything that can be wrong with a sum.
        """
        epoch = self._ready()
        roster, parameters = _known(epoch)
        layout = self._layout
        expected = ceremony.layout_tag(epoch.group, roster.transcript, layout.digest) if layout else None
        message = rounds.read_round(wire, roster, parameters, self.settings.min_sites, expected)
        if message.step != self._step and message.step <= self._last_step:
            raise ProtocolError(
                Reason.WRONG_ROUND, f"round {message.step} has been: the last one was {self._last_step}"
            )
        opened = None
        if message.total is not None:
            if layout is None:
                raise ProtocolError(Reason.LAYOUT_DIFFERS, "a sum arrived before this site declared its tensors")
            opened = self._open(epoch, message.total, layout)
        if message.purpose == rounds.TRAIN:
            self._step = self._last_step = message.step
        else:
            self._step = None
        return Instruction(message.step, message.rounds, message.purpose, opened)

    def _open(self, epoch: _Epoch, total: rounds.Sum, layout: Layout) -> Opened:
        if self._last_opened is not None and self._last_opened.step == total.step:
            if self._last_opened.contributors != total.contributors:
                raise ProtocolError(Reason.SECOND_REVEAL, f"a second sum of round {total.step}, of other sites")
            return self._last_opened
        roster, parameters = _known(epoch)
        start = time.perf_counter()
        around = encoding.Round(epoch.group, roster.transcript, total.step)
        count = total.ciphertexts
        if count != encoding.ciphertexts(layout.size, parameters):
            raise ProtocolError(Reason.LAYOUT_DIFFERS, "the sum has another length than this site's tensors")
        assert epoch.cipher is not None  # noqa: S101 - set with every state that reaches this line
        c0 = packing.unpack_residues(total.payload, parameters.coefficient_bytes, DEGREE)
        seeds = total.seeds.reshape(len(total.contributors), count, -1)
        slots, budget = epoch.cipher.decrypt(seeds, c0)
        start = self.timings.measure("open", start)
        mean = encoding.decode(slots, layout.size, total.contributors, around, parameters)
        self.timings.measure("decode", start)
        self._last_opened = Opened(total.step, layout.unflatten(mean.vector), mean.weight, total.contributors, budget)
        return self._last_opened

    def seal(self, tensors: Tensors, weight: float) -> Wire:
        """Make the update of the current round; once.

        Raises
        ------
        ProtocolError
            ``out_of_order``: no update is due; ``not_finite``; ``layout_differs``.
        """
        epoch = self._ready()
        roster, parameters = _known(epoch)
        if self._step is None:
            raise ProtocolError(Reason.OUT_OF_ORDER, "no update is due: one was made, or no round has begun")
        layout = self._layout or Layout.of(tensors)
        self.declare_layout(layout)
        start = time.perf_counter()
        vector = layout.flatten(tensors)
        around = encoding.Round(epoch.group, roster.transcript, self._step)
        slots, self.timings.clipped_values = encoding.encode(vector, weight, self.name, around, parameters)
        start = self.timings.measure("encode", start)
        assert epoch.cipher is not None  # noqa: S101 - set with every state that reaches this line
        seeds, c0 = epoch.cipher.encrypt(slots)
        start = self.timings.measure("encrypt", start)
        wire = rounds.update(
            roster, self.name, self._step, ceremony.layout_tag(epoch.group, roster.transcript, layout.digest),
            len(slots), seeds, packing.pack_residues(c0, parameters.coefficient_bytes), self._credentials.sign,
        )  # fmt: skip
        self.timings.measure("serialize", start)
        self.timings.update_bytes = wire.size
        self._step = None
        return wire

    # --- helpers ----------------------------------------------------------------------------------------------

    def _ready(self) -> _Epoch:
        if self._state is not State.READY or self._epoch is None:
            raise ProtocolError(Reason.OUT_OF_ORDER, f"the key ceremony is not complete (state: {self._state})")
        return self._epoch

    def _ceremony(self, state: State) -> _Step:
        return _Step(self, state)

    def _box(self, roster: Roster, epoch: _Epoch, recipient: str, content: Mapping[str, str]) -> bytes:
        context = ceremony.box_context(roster.transcript, self.name, recipient)
        key = epoch.seal_keys.secret(roster.members[recipient].seal_key, "box", context)
        return keys.seal(key, messages.canonical(dict(content)), context)

    def _unbox(self, roster: Roster, epoch: _Epoch, sender: str, box: object) -> dict[str, object]:
        if sender not in roster.members or not isinstance(box, str):
            raise ProtocolError(Reason.UNKNOWN_SITE, "a box of a site that is not in the roster")
        context = ceremony.box_context(roster.transcript, sender, self.name)
        key = epoch.seal_keys.secret(roster.members[sender].seal_key, "box", context)
        try:
            content = json.loads(keys.unseal(key, bytes.fromhex(box), context))
        except ValueError:
            raise ProtocolError(Reason.MALFORMED, f"{sender}: the box holds something else") from None
        if not isinstance(content, dict):
            raise ProtocolError(Reason.MALFORMED, f"{sender}: the box holds something else")
        return content


class _Step:
    """A step of the ceremony: the right state before, idle without keys after any failure."""

    def __init__(self, site: Site, state: State) -> None:
        self._site = site
        self._state = state

    def __enter__(self) -> _Epoch:
        if self._site._state is not self._state or self._site._epoch is None:
            raise ProtocolError(Reason.OUT_OF_ORDER, f"expected state {self._state}, but it is {self._site._state}")
        return self._site._epoch

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: object) -> None:
        if kind is not None:
            self._site.destroy()


def _known(epoch: _Epoch) -> tuple[Roster, Parameters]:
    if epoch.roster is None or epoch.parameters is None:
        raise ProtocolError(Reason.OUT_OF_ORDER, "no roster yet")
    return epoch.roster, epoch.parameters
