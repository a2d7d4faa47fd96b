"""The messages that unmask a sum: which set of sites it is of, and the shares that this set needs.

*reveal* (server → site): the signed headers of the contributors, and the boxes that they sealed to this site.

*revealed* (site → server → sites): signed header with round and set; body: this site's share for every site of the
roster in order, sealed under the group key, so that the server relays it and learns nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from secure_aggregation import keys, messages, shamir
from secure_aggregation.ceremony import Roster, Sign, Wire, expect
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import verify_signature

REVEAL = "reveal"
REVEALED = "revealed"
BOX_BYTES = keys.NONCE_BYTES + shamir.SECRET_BYTES + 16
"""A sealed share: nonce, share, tag of AES-GCM."""


@dataclass(frozen=True)
class Reveal:
    """What the server asks a site to reveal.

    Attributes
    ----------
    boxes
        By contributor, the sealed share of its own mask for this site.
    """

    step: int
    contributors: tuple[str, ...]
    boxes: Mapping[str, bytes]


def box_purpose(step: int) -> bytes:
    """What the boxes of one round are bound to, besides sender and recipient."""
    return b"own mask of round %d" % step


def set_digest(contributors: Collection[str]) -> bytes:
    """The set of sites that a sum is of."""
    return hashlib.sha256(messages.canonical(sorted(contributors))).digest()


def reveal(roster: Roster, site: str, step: int, updates: Mapping[str, tuple[bytes, Mapping[str, bytes]]]) -> Wire:
    """Write the server's question to one site; ``updates`` are the contributors' headers and boxes."""
    ordered = sorted(updates)
    body = b"".join(updates[one][1][site] for one in ordered if one != site)
    fields = {
        "job": roster.job,
        "epoch": roster.epoch,
        "step": step,
        "contributors": {one: updates[one][0].hex() for one in ordered},
    }
    return messages.encode(REVEAL, fields, None, body)


def read_boxes(body: bytes, contributors: Collection[str], site: str) -> dict[str, bytes]:
    """The boxes in the server's question."""
    senders = [one for one in sorted(contributors) if one != site]
    if len(body) != len(senders) * BOX_BYTES:
        raise ProtocolError(Reason.MISSING_SHARES, f"{len(body)} bytes of boxes for {len(senders)} contributors")
    return {one: body[i * BOX_BYTES : (i + 1) * BOX_BYTES] for i, one in enumerate(senders)}


def _context(roster: Roster, site: str, step: int, contributors: Collection[str]) -> bytes:
    return messages.canonical([roster.transcript.hex(), site, step, set_digest(contributors).hex()])


def revealed(
    roster: Roster, site: str, step: int, contributors: Collection[str], group: bytes, shares: Mapping[str, bytes],
    sign: Sign,
) -> Wire:  # fmt: skip
    """Write a site's answer."""
    fields = {
        "job": roster.job,
        "epoch": roster.epoch,
        "step": step,
        "site": site,
        "set": set_digest(contributors).hex(),
    }
    content = b"".join(shares[one] for one in roster.sites)
    box = keys.seal(keys.derive(group, "revealed shares"), content, _context(roster, site, step, contributors))
    return messages.encode(REVEALED, fields, sign, box)


def check_revealed(
    wire: messages.Buffer, roster: Roster, site: str, step: int, contributors: Collection[str]
) -> messages.Message:
    """Check a site's answer as far as the server can.

    Raises
    ------
    ProtocolError
        ``second_reveal``: for another set; or what is wrong with it.
    """
    message = messages.decode(wire, REVEALED)
    expect(message, roster.job, roster.epoch)
    member = roster.members.get(site)
    if member is None or message.text("site") != site:
        raise ProtocolError(Reason.UNKNOWN_SITE, f"shares of {site}, which is not in the roster")
    verify_signature(member.public_key, message.signed, message.signature, site)
    if message.number("step") != step:
        raise ProtocolError(Reason.WRONG_ROUND, f"{site}: shares of round {message.number('step')}, not {step}")
    if message.raw("set") != set_digest(contributors):
        raise ProtocolError(Reason.SECOND_REVEAL, f"{site} revealed for another set of sites than this sum's")
    return message


def read_revealed(
    wire: messages.Buffer, roster: Roster, site: str, step: int, contributors: Collection[str], group: bytes
) -> dict[str, bytes]:
    """Check a site's answer at a site and take the shares out.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message = check_revealed(wire, roster, site, step, contributors)
    context = _context(roster, site, step, contributors)
    content = keys.unseal(keys.derive(group, "revealed shares"), message.body.tobytes(), context)
    size = shamir.SECRET_BYTES
    if len(content) != size * len(roster.sites):
        raise ProtocolError(Reason.MISSING_SHARES, f"{site} revealed {len(content)} bytes")
    return {one: content[i * size : (i + 1) * size] for i, one in enumerate(roster.sites)}
