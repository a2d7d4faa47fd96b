"""A hospital that cheats, for the tests: its own filter in place of the real one, and attacks on the finished update.

It has everything a hospital has: a valid kit, the keys of the job, its signature. What it does in a round is asked for
by the executor (``META_ATTACK``), so that one job holds many attacks.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable

from client_plugin.privacy.filters import SealUpdate
from client_plugin.privacy.session import PAYLOAD, session_of
from secure_aggregation import lattice, messages, rounds
from secure_aggregation.ceremony import Wire
from secure_aggregation.parameters import DEGREE
from secure_aggregation.revealing import BOX_BYTES
from secure_aggregation.site import Site

META_ATTACK = "attack"


def _signed_again(wire: Wire, cheater: Site, body: bytes | None = None, **fields: object) -> Wire:
    """The update with other fields or another body, under the cheater's own good signature."""
    message = messages.decode(wire, rounds.UPDATE)
    kept = {key: value for key, value in message.fields.items() if key not in ("kind", "version", "body")}
    content = message.body if body is None else np.frombuffer(body, np.uint8)
    return messages.encode(rounds.UPDATE, {**kept, **fields}, cheater._credentials.sign, content)


def _tampered(wire: Wire, _: Site) -> Wire:
    changed = wire.copy()
    changed[-1000] ^= 1
    return changed


def _cut(wire: Wire, _: Site) -> Wire:
    return wire[: wire.size // 2].copy()


def _short(wire: Wire, site: Site) -> Wire:
    return _signed_again(wire, site, messages.decode(wire, rounds.UPDATE).body[:-1].tobytes())


def _longer(wire: Wire, site: Site) -> Wire:
    """One ciphertext more than the network has."""
    body = messages.decode(wire, rounds.UPDATE).body.tobytes()
    parameters = site._epoch.parameters  # type: ignore[union-attr]
    count = int(messages.decode(wire, rounds.UPDATE).number("ciphertexts"))
    seeds, payload = rounds.seed_bytes(1, parameters), DEGREE * parameters.coefficient_bits // 8
    cut = rounds.seed_bytes(count, parameters)
    longer = bytes(seeds) + body[:cut] + bytes(payload) + body[cut:]
    return _signed_again(wire, site, longer, ciphertexts=count + 1)


def _no_shares(wire: Wire, site: Site) -> Wire:
    """Boxes that hold no shares of the own mask."""
    body = messages.decode(wire, rounds.UPDATE).body.tobytes()
    boxes = BOX_BYTES * (len(site._epoch.roster.sites) - 1)  # type: ignore[union-attr]
    return _signed_again(wire, site, body[:-boxes] + secrets.token_bytes(boxes))


ON_THE_UPDATE: dict[str, Callable[[Wire, Site], Wire]] = {
    "tampered": _tampered,
    "cut": _cut,
    "short": _short,
    "longer": _longer,
    "no shares": _no_shares,
    "ahead": lambda wire, site: _signed_again(wire, site, step=7777),
    "as another": lambda wire, site: _signed_again(wire, site, site="hospital-a"),
    "other layout": lambda wire, site: _signed_again(wire, site, layout="ab" * 32),
}


class DishonestUpdate(SealUpdate):
    """Seals as the real filter does, then cheats."""

    _last: Wire | None = None

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """See :class:`client_plugin.privacy.filters.SealUpdate`."""
        attack = shareable.pop(META_ATTACK, None)
        session = session_of(fl_ctx)
        site = session.site
        honest = site._epoch
        if attack == "other key":
            parameters = honest.parameters  # type: ignore[union-attr]
            made = lattice.Lattice(parameters)
            site._epoch = replace(honest, cipher=lattice.Cipher(made, lattice.generate_secret(made)))  # type: ignore[type-var, call-arg]
        try:
            out = super().process(shareable, fl_ctx)
        finally:
            site._epoch = honest
        if attack == "replay":
            out[PAYLOAD] = self._last
        elif attack in ON_THE_UPDATE:
            out[PAYLOAD] = ON_THE_UPDATE[attack](out[PAYLOAD], site)
        if messages.kind_of(out.get(PAYLOAD, b"")) == rounds.UPDATE:
            self._last = out[PAYLOAD].copy()
        return session.sealed(out)
