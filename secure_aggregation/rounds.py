"""The messages of one sum, and what both sides check in them. Pure: no state, no I/O.

*update* (site → server): header with job, epoch, step, site, transcript and the keyed digest of the layout; body:
seeds of all ciphertexts, then their packed ``c0`` (masks alone: packed slots), then, with masks, one box for every
other site.

*round* (server → site): what to do next (``train`` or ``finish``), and the last sum if there is one: the signed
header of every contributor, what the sites revealed, the contributors' seeds, the packed sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from secure_aggregation import messages, shamir
from secure_aggregation.ceremony import Roster, Sign, Wire, expect
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import verify_signature
from secure_aggregation.lattice_format import SEED_BYTES
from secure_aggregation.messages import Message
from secure_aggregation.parameters import DEGREE, MIN_SITES_MASKS, Parameters
from secure_aggregation.revealing import BOX_BYTES, REVEAL, Reveal, read_boxes, read_revealed

UPDATE = "update"
ROUND = "round"
TRAIN = "train"
FINISH = "finish"

Bytes = npt.NDArray[np.uint8]


class Sealed(Protocol):
    """An update's parts, as :func:`secure_aggregation.sealing.seal` makes them (which the server does not import)."""

    @property
    def ciphertexts(self) -> int: ...

    @property
    def seeds(self) -> Bytes: ...

    @property
    def payload(self) -> Bytes: ...

    @property
    def boxes(self) -> bytes: ...


@dataclass(frozen=True)
class Update:
    """A checked update: what the server adds.

    Attributes
    ----------
    header
        The message as it was signed, without its body.
    boxes
        With masks: for every other site of the roster, the sealed share of this site's own mask.
    """

    site: str
    header: bytes
    layout: bytes
    ciphertexts: int
    seeds: Bytes
    payload: Bytes
    boxes: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Sum:
    """A sum on its way down, checked as far as signatures go.

    Attributes
    ----------
    revealed
        With masks: by site that answered, its share for every site of the roster.
    """

    step: int
    contributors: tuple[str, ...]
    ciphertexts: int
    seeds: Bytes
    payload: Bytes
    revealed: Mapping[str, Mapping[str, bytes]]


@dataclass(frozen=True)
class RoundMessage:
    """What a site is asked to do. ``sum_step`` is None when no sum comes with it."""

    step: int
    rounds: int
    purpose: str
    sum_step: int | None
    sum_epoch: int
    message: Message = field(repr=False)


@dataclass(frozen=True)
class Closed:
    """A sum that gets no more updates, at the server.

    Attributes
    ----------
    revealed
        The sites' messages by name, as they were signed.
    """

    roster: Roster
    step: int
    updates: Sequence[Update]
    payload: Wire
    revealed: Mapping[str, bytes]


def least_contributors(min_sites: int, sites: int, parameters: Parameters) -> int:
    """Fewest contributors of a sum that may be opened.

    With masks three, since the sum of two tells each the other's update, and more than half of the roster, so that only
    one such set can exist.
    """
    if parameters.encryption.masks:
        return max(min_sites, MIN_SITES_MASKS, shamir.threshold(sites))
    return max(min_sites, 2)


def payload_bytes(ciphertexts: int, parameters: Parameters) -> int:
    """Bytes of so many packed polynomials."""
    if parameters.encryption.he:
        return ciphertexts * DEGREE * parameters.coefficient_bits // 8
    return ciphertexts * DEGREE * parameters.plain_bytes


def seed_bytes(ciphertexts: int, parameters: Parameters) -> int:
    """Bytes of one site's seeds."""
    return ciphertexts * SEED_BYTES if parameters.encryption.he else 0


def update(roster: Roster, site: str, step: int, layout: bytes, parts: Sealed, sign: Sign) -> Wire:
    """Write a site's update."""
    fields = {
        "job": roster.job,
        "epoch": roster.epoch,
        "step": step,
        "site": site,
        "transcript": roster.transcript.hex(),
        "layout": layout.hex(),
        "ciphertexts": parts.ciphertexts,
    }
    body = np.concatenate((parts.seeds, parts.payload, np.frombuffer(parts.boxes, np.uint8)))
    return messages.encode(UPDATE, fields, sign, body)


def read_header(message: Message, roster: Roster, site: str, step: int) -> None:
    """Check the signed part of an update.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    expect(message, roster.job, roster.epoch)
    member = roster.members.get(site)
    if member is None:
        raise ProtocolError(Reason.UNKNOWN_SITE, f"{site} is not in this epoch's roster")
    verify_signature(member.public_key, message.signed, message.signature, site)
    if message.text("site") != site:
        raise ProtocolError(Reason.UNKNOWN_SITE, f"an update of {message.text('site')} sent by {site}")
    if message.number("step") != step:
        raise ProtocolError(Reason.WRONG_ROUND, f"{site}: an update of round {message.number('step')} in round {step}")
    if message.raw("transcript") != roster.transcript:
        raise ProtocolError(Reason.SPLIT_VIEW, f"{site}: an update under another roster")


def read_update(wire: messages.Buffer, roster: Roster, site: str, step: int, parameters: Parameters) -> Update:
    """Check one update at the server.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message = messages.decode(wire, UPDATE)
    read_header(message, roster, site, step)
    count = message.number("ciphertexts")
    others = [name for name in roster.sites if name != site] if parameters.encryption.masks else []
    first = seed_bytes(count, parameters)
    second = first + payload_bytes(count, parameters)
    if count < 1 or message.body.size != second + len(others) * BOX_BYTES:
        raise ProtocolError(Reason.TRUNCATED, f"{site}: body of {message.body.size} bytes for {count} ciphertexts")
    tail = message.body[second:].tobytes()
    boxes = {name: tail[i * BOX_BYTES : (i + 1) * BOX_BYTES] for i, name in enumerate(others)}
    header = messages.encode_header(message)
    return Update(site, header, message.raw("layout"), count, message.body[:first], message.body[first:second], boxes)


def round_message(roster: Roster, step: int, rounds: int, purpose: str, total: Closed | None) -> Wire:
    """Write the server's message."""
    fields: dict[str, object] = {
        "job": roster.job, "epoch": roster.epoch, "step": step, "rounds": rounds, "purpose": purpose,
        "sum_step": -1, "sum_epoch": -1, "contributors": {}, "revealed": {},
    }  # fmt: skip
    if total is None:
        return messages.encode(ROUND, fields)
    ordered = sorted(total.updates, key=lambda u: u.site)
    fields |= {
        "sum_step": total.step,
        "sum_epoch": total.roster.epoch,
        "contributors": {u.site: u.header.hex() for u in ordered},
        "revealed": {site: wire.hex() for site, wire in total.revealed.items()},
    }
    return messages.encode(ROUND, fields, None, np.concatenate([u.seeds for u in ordered] + [total.payload]))


def read_round(wire: messages.Buffer, roster: Roster) -> RoundMessage:
    """Check what the server asks for; the sum in it is for :func:`read_sum`."""
    message = messages.decode(wire, ROUND)
    expect(message, roster.job, roster.epoch)
    purpose = message.text("purpose")
    if purpose not in (TRAIN, FINISH):
        raise ProtocolError(Reason.MALFORMED, f"purpose is {purpose[:32]!r}")
    sum_step = message.number("sum_step")
    return RoundMessage(
        message.number("step"),
        message.number("rounds"),
        purpose,
        sum_step if sum_step >= 0 else None,
        message.number("sum_epoch"),
        message,
    )


def read_headers(
    message: Message, roster: Roster, step: int, least: int, layout: bytes | None = None
) -> dict[str, Message]:
    """Check the contributors' signed headers in a message of the server.

    Raises
    ------
    ProtocolError
        ``too_few_sites``; ``layout_differs``; or what is wrong with a contributor's header.
    """
    entries: Mapping[str, object] = message.table("contributors")
    if len(entries) < least:
        raise ProtocolError(Reason.TOO_FEW_SITES, f"a sum of {len(entries)} sites, at least {least} are required")
    headers = {}
    for site, text in entries.items():
        try:
            header = messages.decode_header(bytes.fromhex(str(text)), UPDATE)
        except ValueError:
            raise ProtocolError(Reason.MALFORMED, "a contributor's header is not hexadecimal") from None
        read_header(header, roster, site, step)
        if layout is not None and header.raw("layout") != layout:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} contributed tensors of another layout")
        headers[site] = header
    return headers


def read_sum(
    asked: RoundMessage, roster: Roster, parameters: Parameters, least: int, layout: bytes, group: bytes
) -> Sum:
    """Check the sum in a round's message against the roster of its epoch.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message, step = asked.message, asked.sum_step
    if step is None:
        raise ProtocolError(Reason.MALFORMED, "no sum in this message")
    headers = read_headers(message, roster, step, least, layout)
    counts = {header.number("ciphertexts") for header in headers.values()}
    if len(counts) != 1:
        raise ProtocolError(Reason.LAYOUT_DIFFERS, "contributors sent updates of different lengths")
    count = counts.pop()
    seeds = seed_bytes(count, parameters) * len(headers)
    if message.body.size != seeds + payload_bytes(count, parameters):
        raise ProtocolError(Reason.TRUNCATED, f"sum of {message.body.size} bytes for {count} ciphertexts")
    revealed = {}
    for site, text in message.table("revealed").items():
        try:
            wire = bytes.fromhex(str(text))
        except ValueError:
            raise ProtocolError(Reason.MALFORMED, "what a site revealed is not hexadecimal") from None
        revealed[site] = read_revealed(wire, roster, site, step, headers, group)
    contributors = tuple(sorted(headers))
    return Sum(step, contributors, count, message.body[:seeds], message.body[seeds:], revealed)


def read_reveal(wire: messages.Buffer, roster: Roster, site: str, least: int) -> Reveal:
    """Check the server's question at a site.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message = messages.decode(wire, REVEAL)
    expect(message, roster.job, roster.epoch)
    step = message.number("step")
    headers = read_headers(message, roster, step, least)
    contributors = tuple(sorted(headers))
    return Reveal(step, contributors, read_boxes(message.body.tobytes(), contributors, site))
