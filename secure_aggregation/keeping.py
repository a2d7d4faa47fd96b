"""What a site keeps, so that a job goes on after a restart. Pure: bytes in, bytes out; sealing and storing are the
caller's.

Two things, because they are of use for different times. The *model*: what was opened so far, for as long as somebody
may resume the job. The *keys* of the running epoch, with a record of what was done with them, for this job only: a
process that starts again must not reveal for a second set of sites, so the record is kept before an answer leaves.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from secure_aggregation import ceremony, keys, lattice, messages
from secure_aggregation.catching_up import RunningTotal
from secure_aggregation.ceremony import Settings, Wire
from secure_aggregation.epoch import ReadyEpoch
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority
from secure_aggregation.layout import Layout
from secure_aggregation.optimizer import STATE_VECTORS

MODEL = "kept_model"


@dataclass(frozen=True)
class Used:
    """What was done with an epoch's keys.

    Attributes
    ----------
    step
        The round whose update is due, or None.
    last_step
        The last round that has begun.
    exposed
        Whether this site's mask key was revealed.
    own_shares, revealed
        By round: this site's share of its own mask; the set of sites it revealed for, and its answer.
    """

    step: int | None
    last_step: int
    exposed: bool
    own_shares: Mapping[int, bytes] = field(repr=False)
    revealed: Mapping[int, tuple[frozenset[str], Wire]] = field(repr=False)


def pack_model(settings: Settings, layout: Layout, total: RunningTotal, most_weight: float) -> bytes:
    """The model, with what it may be resumed by."""
    fields = {
        "settings": settings.fields(),
        "layout": layout.digest.hex(),
        "step": total.step,
        "contributors": list(total.contributors),
        "most_weight": float(most_weight).hex(),
    }
    body = np.concatenate((total.vector, *total.moments)).astype("<f4")
    return messages.encode(MODEL, fields, None, body.view(np.uint8)).tobytes()


def unpack_model(kept: bytes, settings: Settings, layout: Layout) -> tuple[RunningTotal, float]:
    """The inverse; the second value is the largest weight of a sum so far.

    Raises
    ------
    ProtocolError
        ``parameters_differ``, ``layout_differs``: of another kind of job; ``malformed``.
    """
    message = messages.decode(kept, MODEL)
    if message.table("settings") != settings.fields():
        raise ProtocolError(Reason.PARAMETERS_DIFFER, "the kept model is of a job with other settings")
    vectors = 1 + STATE_VECTORS[settings.optimizer.name]
    if message.raw("layout") != layout.digest or message.body.size != 4 * layout.size * vectors:
        raise ProtocolError(Reason.LAYOUT_DIFFERS, "the kept model has other tensors than this job")
    # A copy: the message's body need not lie where floats may.
    numbers = np.frombuffer(message.body.tobytes(), "<f4").astype(np.float32).reshape(vectors, layout.size)
    vector, *moments = numbers
    total = RunningTotal(message.number("step"), tuple(message.names("contributors")), vector, tuple(moments))
    return total, float.fromhex(message.text("most_weight"))


def pack_keys(epoch: ReadyEpoch, used: Used) -> bytes:
    """The keys of an epoch and their record."""
    return messages.canonical(
        {
            "epoch": epoch.number,
            "own": epoch.own.hex(),
            "roster": epoch.roster.message().tobytes().hex(),
            "seal_key": epoch.seal_keys.private_bytes.hex(),
            "mask_seed": epoch.mask_seed.hex(),
            "mask_share": epoch.mask_share.hex(),
            "group": epoch.group.hex(),
            "secret": epoch.secret.hex(),
            "shares": {site: share.hex() for site, share in epoch.shares.items()},
            "step": used.step,
            "last_step": used.last_step,
            "exposed": used.exposed,
            "own_shares": {str(step): share.hex() for step, share in used.own_shares.items()},
            "revealed": {
                str(step): [sorted(sites), wire.tobytes().hex()] for step, (sites, wire) in used.revealed.items()
            },
        }
    )


def unpack_keys(
    kept: bytes, job: str, site: str, settings: Settings, authority: Authority, now: datetime.datetime
) -> tuple[ReadyEpoch, Used]:
    """The inverse. The roster is checked again, as in the ceremony.

    Raises
    ------
    ProtocolError
        ``malformed``, or what does not hold any more.
    """
    try:
        found = json.loads(kept)
        own, secret = bytes.fromhex(found["own"]), bytes.fromhex(found["secret"])
        roster = ceremony.read_roster(
            bytes.fromhex(found["roster"]), job, found["epoch"], own, site, settings, authority, now
        )
        parameters = settings.parameters(len(roster.members))
        epoch = ReadyEpoch(
            found["epoch"], site, keys.Agreement.restore(bytes.fromhex(found["seal_key"])),
            bytes.fromhex(found["mask_seed"]), own, roster=roster, parameters=parameters,
            group=bytes.fromhex(found["group"]), secret=secret, mask_share=bytes.fromhex(found["mask_share"]),
            cipher=lattice.Cipher(lattice.Lattice(parameters), secret) if parameters.encryption.he else None,
            shares={name: bytes.fromhex(share) for name, share in found["shares"].items()},
        )  # fmt: skip
        used = Used(
            found["step"], found["last_step"], found["exposed"],
            {int(step): bytes.fromhex(share) for step, share in found["own_shares"].items()},
            {
                int(step): (frozenset(sites), np.frombuffer(bytes.fromhex(wire), np.uint8))
                for step, (sites, wire) in found["revealed"].items()
            },
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ProtocolError(Reason.MALFORMED, "the kept keys are not what this version writes") from None
    return epoch, used
