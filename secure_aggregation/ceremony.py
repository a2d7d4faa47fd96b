"""The messages of the key ceremony, and what each side checks in them. Pure: no state, no I/O.

1. every site *announces* two fresh X25519 keys and the settings it read from its job, signed by its kit;
2. the server relays all announcements, the *roster*; every site checks every certificate and signature, and hashes
the roster
   into the *transcript*;
3. every site *shares*: the first in order of name makes the group key and the homomorphic key and seals them to each
   other site; with masks, every site adds Shamir shares of its mask key;
4. the server delivers the boxes; every site *confirms*: it signs the transcript and proves that it holds the group key;
5. the server relays the confirmations; a site whose roster differs from another's finds out here, before anything was
sent.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from secure_aggregation import keys, messages
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority, verify_signature
from secure_aggregation.messages import Message
from secure_aggregation.optimizer import ServerOptimizer
from secure_aggregation.parameters import Encryption, Parameters, choose

Wire = npt.NDArray[np.uint8]
Sign = Callable[[bytes], bytes]

ANNOUNCE = "announce"
ANNOUNCEMENT = "announcement"
ROSTER = "roster"
SHARES = "shares"
DELIVERY = "delivery"
CONFIRMATION = "confirmation"
READY = "ready"
OK = "ok"


@dataclass(frozen=True)
class Settings:
    """What the job asks of the aggregation. Every site reads it from its own copy of the job and signs it.

    Attributes
    ----------
    min_sites
        Fewest sites of a sum.
    min_share
        Least weight of a sum, as a share of the largest sum of this job so far; 0: any.
    full_weights
        Whether updates are weights instead of differences.
    optimizer
        What makes the model's step of the mean difference, at every site alike.
    """

    encryption: Encryption
    bits: int
    clip: float
    max_weight: float
    min_sites: int
    min_share: float = 0.0
    full_weights: bool = False
    optimizer: ServerOptimizer = field(default_factory=ServerOptimizer)

    def __post_init__(self) -> None:
        if self.full_weights and self.optimizer.name != "fedavg":
            raise ProtocolError(Reason.UNSUPPORTED, f"{self.optimizer.name} needs differences, not full weights")

    def fields(self) -> dict[str, object]:
        """For a header: floats as their exact hexadecimal."""
        return {
            "encryption": self.encryption.value,
            "bits": self.bits,
            "clip": float(self.clip).hex(),
            "max_weight": float(self.max_weight).hex(),
            "min_sites": self.min_sites,
            "min_share": float(self.min_share).hex(),
            "full_weights": int(self.full_weights),
            "optimizer": self.optimizer.fields(),
        }

    def parameters(self, sites: int) -> Parameters:
        """The parameters for so many sites."""
        return choose(self.encryption, sites=sites, bits=self.bits, clip=self.clip, max_weight=self.max_weight)


@dataclass(frozen=True)
class Announcement:
    """One site's keys for one epoch, checked.

    Attributes
    ----------
    standing
        The last sum that this site's model has; -1: none.
    """

    site: str
    seal_key: bytes
    mask_key: bytes
    settings: Mapping[str, object]
    certificate: bytes
    public_key: RSAPublicKey
    wire: bytes
    standing: int


@dataclass(frozen=True)
class Roster:
    """The sites of one epoch."""

    job: str
    epoch: int
    members: Mapping[str, Announcement]

    @property
    def sites(self) -> list[str]:
        return sorted(self.members)

    @property
    def leader(self) -> str:
        """The site that makes the keys: first in order of name."""
        return self.sites[0]

    @property
    def standing(self) -> int:
        """The last sum that the model of any site has; -1: none."""
        return max(member.standing for member in self.members.values())

    def behind(self, step: int) -> list[str]:
        """Sites whose model lacks the sum ``step``."""
        return [site for site in self.sites if self.members[site].standing < step]

    @property
    def transcript(self) -> bytes:
        """SHA-256 over job, epoch and all announcements as they were signed."""
        digest = hashlib.sha256(b"fedpacs/1/transcript\0" + messages.canonical([self.job, self.epoch]))
        for site in self.sites:
            digest.update(hashlib.sha256(self.members[site].wire).digest())
        return digest.digest()

    def message(self) -> Wire:
        """What the server relays."""
        return messages.encode(
            ROSTER,
            {"job": self.job, "epoch": self.epoch, "members": {s: m.wire.hex() for s, m in self.members.items()}},
        )


def announce_request(job: str, epoch: int) -> Wire:
    """The server's first message."""
    return messages.encode(ANNOUNCE, {"job": job, "epoch": epoch})


def announcement(
    job: str,
    epoch: int,
    site: str,
    settings: Settings,
    seal_key: bytes,
    mask_key: bytes,
    certificate: bytes,
    sign: Sign,
    standing: int = -1,
) -> Wire:
    """A site's keys, and how far its model is."""
    return messages.encode(
        ANNOUNCEMENT,
        {
            "job": job,
            "epoch": epoch,
            "site": site,
            "settings": settings.fields(),
            "seal_key": seal_key.hex(),
            "mask_key": mask_key.hex(),
            "certificate": certificate.decode("ascii"),
            "standing": standing,
        },
        sign,
    )


def expect(message: Message, job: str, epoch: int) -> None:
    """Refuse a message of another job or epoch."""
    if message.text("job") != job:
        raise ProtocolError(Reason.WRONG_JOB, f"'{message.kind}' belongs to another job")
    if message.number("epoch") != epoch:
        raise ProtocolError(
            Reason.WRONG_EPOCH, f"'{message.kind}' belongs to epoch {message.number('epoch')}, not {epoch}"
        )


def read_announcement(
    wire: messages.Buffer, job: str, epoch: int, site: str, authority: Authority, now: datetime.datetime
) -> Announcement:
    """Check one announcement: certificate, signature, job, epoch, name.

    Raises
    ------
    ProtocolError
        With what does not hold.
    """
    message = messages.decode(wire, ANNOUNCEMENT)
    expect(message, job, epoch)
    if message.text("site") != site:
        raise ProtocolError(Reason.UNKNOWN_SITE, f"{site} announced itself under another name")
    certificate = message.text("certificate").encode("ascii", "replace")
    public_key = authority.verify(certificate, site, now)
    verify_signature(public_key, message.signed, message.signature, site)
    seal_key, mask_key = message.raw("seal_key"), message.raw("mask_key")
    if len(seal_key) != 32 or len(mask_key) != 32:
        raise ProtocolError(Reason.MALFORMED, f"{site}: X25519 keys have 32 bytes")
    return Announcement(
        site,
        seal_key,
        mask_key,
        message.table("settings"),
        certificate,
        public_key,
        np.frombuffer(wire, np.uint8).tobytes(),
        message.number("standing"),
    )


def read_roster(
    wire: messages.Buffer, job: str, epoch: int, own: bytes, site: str, settings: Settings, authority: Authority,
    now: datetime.datetime,
) -> Roster:  # fmt: skip
    """Check a whole roster at a site whose own announcement was ``own``.

    Raises
    ------
    ProtocolError
        ``split_view``: this site is missing or altered; ``too_few_sites``; ``parameters_differ``; or what is wrong with
        a member.
    """
    message = messages.decode(wire, ROSTER)
    expect(message, job, epoch)
    members = {}
    for name, text in message.table("members").items():
        try:
            members[name] = read_announcement(bytes.fromhex(text), job, epoch, name, authority, now)
        except (TypeError, ValueError):
            raise ProtocolError(Reason.MALFORMED, "a roster entry is not hexadecimal") from None
    if site not in members or members[site].wire != own:
        raise ProtocolError(Reason.SPLIT_VIEW, "the roster does not hold this site's announcement as it was sent")
    if len(members) < settings.min_sites:
        raise ProtocolError(Reason.TOO_FEW_SITES, f"{len(members)} sites, at least {settings.min_sites} are required")
    for member in members.values():
        if dict(member.settings) != settings.fields():
            raise ProtocolError(
                Reason.PARAMETERS_DIFFER, f"{member.site} announced other settings than this site's job"
            )
    used = [key for m in members.values() for key in (m.seal_key, m.mask_key)]
    if len(set(used)) != len(used):
        raise ProtocolError(Reason.REPLAY, "two sites announced the same key")
    return Roster(job, epoch, members)


def box_context(transcript: bytes, sender: str, recipient: str) -> bytes:
    """What a box is bound to."""
    return messages.canonical([transcript.hex(), sender, recipient])


def confirmation(
    roster: Roster, site: str, group: bytes, layout: bytes | None, sign: Sign, model: bytes | None = None
) -> Wire:
    """A site's signature under the transcript, the proof that it holds the group key, and the keyed digests of its
    layout and of its model, if it has one.
    """
    transcript = roster.transcript
    return messages.encode(
        CONFIRMATION,
        {
            "job": roster.job,
            "epoch": roster.epoch,
            "site": site,
            "transcript": transcript.hex(),
            "holds": keys.tag(group, "holds the group key", transcript + site.encode()).hex(),
            "layout": layout_tag(group, transcript, layout).hex() if layout else "",
            "model": model_tag(group, transcript, model).hex() if model else "",
        },
        sign,
    )


def layout_tag(group: bytes, transcript: bytes, digest: bytes) -> bytes:
    """A layout's digest, keyed: the server can compare two of them and learns nothing else."""
    return keys.tag(group, "layout", transcript + digest)


def model_tag(group: bytes, transcript: bytes, digest: bytes) -> bytes:
    """A model's digest, keyed as a layout's."""
    return keys.tag(group, "model", transcript + digest)


def read_confirmation(wire: messages.Buffer, roster: Roster, site: str) -> Message:
    """Check a confirmation's signature and transcript (the server can do so much).

    Raises
    ------
    ProtocolError
        ``split_view``: the site saw another roster; ``bad_signature``; ``unknown_site``.
    """
    message = messages.decode(wire, CONFIRMATION)
    expect(message, roster.job, roster.epoch)
    member = roster.members.get(site)
    if member is None or message.text("site") != site:
        raise ProtocolError(Reason.UNKNOWN_SITE, f"a confirmation of {site}, which is not in the roster")
    verify_signature(member.public_key, message.signed, message.signature, site)
    if message.raw("transcript") != roster.transcript:
        raise ProtocolError(Reason.SPLIT_VIEW, f"{site} saw another roster: the server shows different views")
    return message


def read_ready(
    wire: messages.Buffer, roster: Roster, own_site: str, group: bytes, layout: bytes | None, model: bytes | None
) -> None:
    """Check at ``own_site`` that every site of the roster confirmed the same transcript, group key and layout, and that
    all whose models have the same sums have the same model.

    Raises
    ------
    ProtocolError
        ``split_view``, ``wrong_key``, ``layout_differs``, ``models_differ``, or what is wrong with one confirmation.
    """
    message = messages.decode(wire, READY)
    expect(message, roster.job, roster.epoch)
    entries = message.table("confirmations")
    if set(entries) != set(roster.members):
        raise ProtocolError(Reason.SPLIT_VIEW, "not every site of the roster has confirmed it")
    own = layout_tag(group, roster.transcript, layout) if layout else None
    own_model = model_tag(group, roster.transcript, model) if model else None
    standing = roster.members[own_site].standing
    for site, text in entries.items():
        try:
            one = read_confirmation(bytes.fromhex(text), roster, site)
        except (TypeError, ValueError):
            raise ProtocolError(Reason.MALFORMED, "a confirmation is not hexadecimal") from None
        holds = keys.tag(group, "holds the group key", roster.transcript + site.encode())
        if not hmac.compare_digest(one.raw("holds"), holds):
            raise ProtocolError(Reason.WRONG_KEY, f"{site} holds another group key")
        theirs = one.raw("layout")
        if own and theirs and theirs != own:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} trains a network with other tensors")
        if own_model and roster.members[site].standing == standing and one.raw("model") != own_model:
            raise ProtocolError(Reason.MODELS_DIFFER, f"{site} has another model after round {standing}")


def ready(roster: Roster, confirmations: Mapping[str, bytes]) -> Wire:
    """The server's relay of all confirmations."""
    return messages.encode(
        READY,
        {"job": roster.job, "epoch": roster.epoch, "confirmations": {s: w.hex() for s, w in confirmations.items()}},
    )
