"""What a site holds in one epoch: the keys that one ceremony made. Immutable; each step of the ceremony makes the
next one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from secure_aggregation import ceremony, encoding, keys, lattice, masks, messages, shamir
from secure_aggregation.ceremony import Roster
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.messages import Message
from secure_aggregation.parameters import Parameters


@dataclass(frozen=True)
class Epoch:
    """Keys of one epoch, as far as its ceremony has come.

    Attributes
    ----------
    number
        Which epoch of the job.
    site
        Whose keys these are.
    seal_keys
        For boxes between two sites.
    mask_seed
        16 bytes behind the key pair of the masks; what the other sites hold shares of.
    own
        This site's announcement as it was sent.
    """

    number: int
    site: str
    seal_keys: keys.Agreement = field(repr=False)
    mask_seed: bytes = field(repr=False)
    own: bytes = field(repr=False, default=b"")

    @classmethod
    def fresh(cls, number: int, site: str) -> Epoch:
        """With new keys."""
        return cls(number, site, keys.Agreement.generate(), secrets.token_bytes(shamir.SECRET_BYTES))

    @property
    def mask_keys(self) -> keys.Agreement:
        """The key pair of the masks."""
        return masks.mask_agreement(self.mask_seed)

    def announced(self, own: bytes) -> Epoch:
        """After the announcement was made."""
        return replace(self, own=own)


@dataclass(frozen=True)
class SharedEpoch(Epoch):
    """An epoch whose roster is known: this site has sealed its boxes.

    Attributes
    ----------
    mask_share
        This site's own share of its mask seed.
    """

    roster: Roster = field(kw_only=True)
    parameters: Parameters = field(kw_only=True)
    group: bytes = field(kw_only=True, repr=False, default=b"")
    secret: bytes = field(kw_only=True, repr=False, default=b"")
    mask_share: bytes = field(kw_only=True, repr=False, default=b"")

    @property
    def transcript(self) -> bytes:
        return self.roster.transcript

    def box(self, recipient: str, content: bytes, purpose: bytes = b"") -> bytes:
        """Seal ``content`` to another site."""
        context = ceremony.box_context(self.transcript, self.site, recipient) + purpose
        key = self.seal_keys.secret(self.roster.members[recipient].seal_key, "box", context)
        return keys.seal(key, content, context)

    def unbox(self, sender: str, box: bytes, purpose: bytes = b"") -> bytes:
        """Open what another site sealed to this one.

        Raises
        ------
        ProtocolError
            ``wrong_key``, with the sender's name.
        """
        if sender not in self.roster.members:
            raise ProtocolError(Reason.UNKNOWN_SITE, "a box of a site that is not in the roster")
        context = ceremony.box_context(self.transcript, sender, self.site) + purpose
        key = self.seal_keys.secret(self.roster.members[sender].seal_key, "box", context)
        try:
            return keys.unseal(key, box, context)
        except ProtocolError:
            raise ProtocolError(Reason.WRONG_KEY, f"the box of {sender} does not open: other key, or changed") from None

    def others(self) -> list[str]:
        """The other sites of the roster, in order."""
        return [site for site in self.roster.sites if site != self.site]


@dataclass(frozen=True)
class ReadyEpoch(SharedEpoch):
    """An epoch with everything that sums need.

    Attributes
    ----------
    shares
        This site's share of every site's mask seed, its own included; empty without masks.
    """

    cipher: lattice.Cipher | None = field(kw_only=True, repr=False, default=None)
    shares: Mapping[str, bytes] = field(kw_only=True, repr=False, default_factory=dict)

    def around(self, step: int) -> encoding.Round:
        """What the keys of one sum are derived from."""
        return encoding.Round(self.group, self.transcript, step)

    def layout_tag(self, digest: bytes | None) -> bytes | None:
        """A layout's digest, keyed."""
        return ceremony.layout_tag(self.group, self.transcript, digest) if digest else None


def share(epoch: Epoch, roster: Roster, parameters: Parameters) -> tuple[SharedEpoch, dict[str, str], bytes]:
    """Make this site's part of the epoch's keys.

    Returns
    -------
    tuple
        The epoch; hexadecimal boxes by recipient; the sealed homomorphic key if this site makes it, or nothing.
    """
    shared = SharedEpoch(
        epoch.number, epoch.site, epoch.seal_keys, epoch.mask_seed, epoch.own, roster=roster, parameters=parameters
    )
    body = b""
    if roster.leader == epoch.site:
        group, secret = secrets.token_bytes(32), b""
        if parameters.encryption.he:
            secret = lattice.generate_secret(lattice.Lattice(parameters))
            body = keys.seal(keys.derive(group, "secret key"), secret, roster.transcript)
        shared = replace(shared, group=group, secret=secret)
    parts: dict[str, bytes] = {}
    if parameters.encryption.masks:
        parts = dict(zip(roster.sites, shamir.split(epoch.mask_seed, len(roster.sites)), strict=True))
        shared = replace(shared, mask_share=parts[epoch.site])
    boxes = {
        site: shared.box(
            site, messages.canonical({"group": shared.group.hex(), "share": parts.get(site, b"").hex()})
        ).hex()
        for site in shared.others()
    }
    return shared, boxes, body


def confirm(epoch: SharedEpoch, delivery: Message) -> ReadyEpoch:
    """Take the keys out of the boxes.

    Raises
    ------
    ProtocolError
        ``missing_shares``: not every other site sent a box; ``wrong_key``: one does not open, or holds no key.
    """
    boxes = delivery.table("boxes")
    if set(boxes) != set(epoch.others()):
        raise ProtocolError(Reason.MISSING_SHARES, "not every site of the roster sent a box")
    group, secret = epoch.group, epoch.secret
    shares: dict[str, bytes] = {}
    for site, text in boxes.items():
        their_group, their_share = _content(epoch, site, text)
        if site == epoch.roster.leader:
            group = their_group
        if epoch.parameters.encryption.masks:
            if len(their_share) != shamir.SECRET_BYTES:
                raise ProtocolError(Reason.MISSING_SHARES, f"{site} sent no share of its mask key")
            shares[site] = their_share
    if epoch.parameters.encryption.masks:
        shares[epoch.site] = epoch.mask_share
    if len(group) != 32:
        raise ProtocolError(Reason.WRONG_KEY, f"{epoch.roster.leader} sent no group key")
    cipher = None
    if epoch.parameters.encryption.he:
        if epoch.roster.leader != epoch.site:
            secret = keys.unseal(keys.derive(group, "secret key"), delivery.body.tobytes(), epoch.transcript)
        cipher = lattice.Cipher(lattice.Lattice(epoch.parameters), secret)
    return ReadyEpoch(
        epoch.number, epoch.site, epoch.seal_keys, epoch.mask_seed, epoch.own, roster=epoch.roster,
        parameters=epoch.parameters, group=group, secret=secret, mask_share=epoch.mask_share, cipher=cipher,
        shares=shares,
    )  # fmt: skip


def _content(epoch: SharedEpoch, site: str, text: object) -> tuple[bytes, bytes]:
    try:
        content = json.loads(epoch.unbox(site, bytes.fromhex(str(text))))
        return bytes.fromhex(content["group"]), bytes.fromhex(content["share"])
    except (ValueError, TypeError, KeyError):
        raise ProtocolError(Reason.MALFORMED, f"{site}: the box holds something else") from None
