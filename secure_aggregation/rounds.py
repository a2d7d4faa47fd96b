"""The messages of one sum, and what both sides check in them. Pure: no state, no I/O.

*update* (site → server): header with job, epoch, step, site, transcript and the keyed digest of the layout; body:
seeds of all ciphertexts, then their packed ``c0`` (masks alone: packed slots).

*round* (server → site): what to do next (``train`` or ``finish``), and the last sum if there is one: the signed
header of every contributor, their seeds, the packed sum of their ``c0``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from secure_aggregation import messages
from secure_aggregation.ceremony import Roster, Sign, Wire, expect
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import verify_signature
from secure_aggregation.lattice_format import SEED_BYTES
from secure_aggregation.messages import Message
from secure_aggregation.parameters import DEGREE, Parameters

UPDATE = "update"
ROUND = "round"
TRAIN = "train"
FINISH = "finish"


@dataclass(frozen=True)
class Update:
    """A checked update: what the server adds."""

    site: str
    header: bytes
    layout: bytes
    ciphertexts: int
    seeds: npt.NDArray[np.uint8]
    payload: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Sum:
    """A sum on its way down, checked as far as signatures go."""

    step: int
    contributors: tuple[str, ...]
    ciphertexts: int
    seeds: npt.NDArray[np.uint8]
    payload: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RoundMessage:
    """What a site is asked to do, with the last sum if there is one."""

    step: int
    rounds: int
    purpose: str
    total: Sum | None


def payload_bytes(ciphertexts: int, parameters: Parameters) -> int:
    """Bytes of so many packed polynomials."""
    size = parameters.coefficient_bytes if parameters.encryption.he else parameters.plain_bytes
    return ciphertexts * DEGREE * size


def seed_bytes(ciphertexts: int, parameters: Parameters) -> int:
    """Bytes of one site's seeds."""
    return ciphertexts * SEED_BYTES if parameters.encryption.he else 0


def update(
    roster: Roster, site: str, step: int, layout: bytes, ciphertexts: int, seeds: npt.NDArray[np.uint8],
    payload: npt.NDArray[np.uint8], sign: Sign,
) -> Wire:  # fmt: skip
    """Write a site's update."""
    fields = {
        "job": roster.job,
        "epoch": roster.epoch,
        "step": step,
        "site": site,
        "transcript": roster.transcript.hex(),
        "layout": layout.hex(),
        "ciphertexts": ciphertexts,
    }
    return messages.encode(UPDATE, fields, sign, np.concatenate((seeds.reshape(-1), payload)))


def _read_header(message: Message, roster: Roster, site: str, step: int) -> None:
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
    _read_header(message, roster, site, step)
    count = message.number("ciphertexts")
    seeds = seed_bytes(count, parameters)
    if count < 1 or message.body.size != seeds + payload_bytes(count, parameters):
        raise ProtocolError(Reason.TRUNCATED, f"{site}: body of {message.body.size} bytes for {count} ciphertexts")
    header = messages.encode_header(message)
    return Update(site, header, message.raw("layout"), count, message.body[:seeds], message.body[seeds:])


def round_message(
    roster: Roster, step: int, rounds: int, purpose: str, total: tuple[int, Sequence[Update], Wire] | None
) -> Wire:
    """Write the server's message: ``total`` is the last sum's step, its contributors' updates and its packed
    payload.
    """
    fields: dict[str, object] = {
        "job": roster.job, "epoch": roster.epoch, "step": step, "rounds": rounds, "purpose": purpose,
        "contributors": {}, "sum_step": -1,
    }  # fmt: skip
    if total is None:
        return messages.encode(ROUND, fields)
    sum_step, updates, payload = total
    ordered = sorted(updates, key=lambda u: u.site)
    fields |= {"sum_step": sum_step, "contributors": {u.site: u.header.hex() for u in ordered}}
    return messages.encode(ROUND, fields, None, np.concatenate([u.seeds for u in ordered] + [payload]))


def read_round(
    wire: messages.Buffer, roster: Roster, parameters: Parameters, min_sites: int, layout: bytes | None
) -> RoundMessage:
    """Check the server's message at a site.

    Raises
    ------
    ProtocolError
        ``too_few_sites``: fewer contributors than required; ``layout_differs``; or what is wrong with a contributor's
        header.
    """
    message = messages.decode(wire, ROUND)
    expect(message, roster.job, roster.epoch)
    step, purpose = message.number("step"), message.text("purpose")
    if purpose not in (TRAIN, FINISH):
        raise ProtocolError(Reason.MALFORMED, f"purpose is {purpose[:32]!r}")
    total = None
    entries: Mapping[str, str] = message.table("contributors")
    if entries:
        total = _read_sum(message, entries, roster, parameters, min_sites, layout)
    return RoundMessage(step, message.number("rounds"), purpose, total)


def _read_sum(
    message: Message,
    entries: Mapping[str, str],
    roster: Roster,
    parameters: Parameters,
    min_sites: int,
    layout: bytes | None,
) -> Sum:
    sum_step = message.number("sum_step")
    if len(entries) < min_sites:
        raise ProtocolError(Reason.TOO_FEW_SITES, f"a sum of {len(entries)} sites, at least {min_sites} are required")
    counts = set()
    for site, text in entries.items():
        try:
            header = messages.decode_header(bytes.fromhex(text), UPDATE)
        except (TypeError, ValueError):
            raise ProtocolError(Reason.MALFORMED, "a contributor's header is not hexadecimal") from None
        _read_header(header, roster, site, sum_step)
        if layout is not None and header.raw("layout") != layout:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} contributed tensors of another layout")
        counts.add(header.number("ciphertexts"))
    if len(counts) != 1:
        raise ProtocolError(Reason.LAYOUT_DIFFERS, "contributors sent updates of different lengths")
    count = counts.pop()
    seeds = seed_bytes(count, parameters) * len(entries)
    if message.body.size != seeds + payload_bytes(count, parameters):
        raise ProtocolError(Reason.TRUNCATED, f"sum of {message.body.size} bytes for {count} ciphertexts")
    return Sum(sum_step, tuple(sorted(entries)), count, message.body[:seeds], message.body[seeds:])
