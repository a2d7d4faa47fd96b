"""Lock two: masks that cancel in the sum (Bonawitz et al., CCS 2017).

Site *i* adds to its slots, modulo ``t``: for every other site *j* a stream both can compute, ``+`` when *i* comes
before *j* in order of name and ``-`` otherwise; and a stream of a fresh seed ``b_i`` of its own. The pair streams
cancel in the sum of all sites. The own streams do not: after the sum's contributors are fixed, the sites reveal the
Shamir shares of the contributors' ``b_i``, and for sites that dropped out the shares of their mask key, from which
the pair streams that found no partner follow. A site never reveals both kinds for the same site and round, so the
update of a site that was slow and not dead stays masked by its ``b_i``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from secure_aggregation import shamir
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.keys import Agreement, derive, stream

Slots = npt.NDArray[np.uint64]


def mask_agreement(seed: bytes) -> Agreement:
    """The X25519 key pair of a 16-byte seed; the seed is what is shared, so that one Shamir secret holds the key."""
    return Agreement.restore(derive(seed, "mask key"))


def pair_seed(agreement: Agreement, peer: bytes, context: bytes) -> bytes:
    """The seed that two sites share for one round."""
    return agreement.secret(peer, "pair mask", context)


def own_seed(secret: bytes, context: bytes) -> bytes:
    """The seed of a site's own stream from the 16 bytes that are shared."""
    return derive(secret, "own mask", context)


def _add(slots: Slots, seed: bytes, *, negative: bool) -> None:
    flat = slots.reshape(-1)
    mask = stream(seed, 8 * flat.size).view("<u8")
    if negative:
        flat -= mask
    else:
        flat += mask


def mask(
    slots: Slots,
    site: str,
    agreement: Agreement,
    peers: Mapping[str, bytes],
    own: bytes,
    context: bytes,
    plain_bits: int,
) -> None:
    """Mask ``slots`` in place, modulo ``2**plain_bits``.

    Parameters
    ----------
    site, agreement
        Who masks, and its mask key.
    peers
        Mask keys of all other sites of the roster, by name.
    own
        The 16 bytes behind the own stream of this round.
    context
        Transcript and round.
    """
    for peer, key in peers.items():
        _add(slots, pair_seed(agreement, key, context), negative=peer < site)
    _add(slots, own_seed(own, context), negative=False)
    slots &= np.uint64((1 << plain_bits) - 1)


def unmask(
    slots: Slots,
    contributors: Collection[str],
    own: Mapping[str, bytes],
    dropped: Mapping[str, bytes],
    keys: Mapping[str, bytes],
    context: bytes,
    plain_bits: int,
) -> None:
    """Take the masks that did not cancel out of a sum, in place.

    Parameters
    ----------
    own
        The revealed 16 bytes of every contributor.
    dropped
        The revealed mask seed of every site of the roster that is not in the sum.
    keys
        Mask keys of the roster by name.

    Raises
    ------
    ProtocolError
        ``missing_shares``: a revealed seed is not the one of the announced key.
    """
    for site in contributors:
        _add(slots, own_seed(own[site], context), negative=True)
    for site, seed in dropped.items():
        agreement = mask_agreement(seed)
        if agreement.public != keys[site]:
            raise ProtocolError(Reason.MISSING_SHARES, f"the shares of {site}'s mask key do not fit its public key")
        for contributor in contributors:
            # What the contributor added for this pair, with the opposite sign.
            _add(slots, pair_seed(agreement, keys[contributor], context), negative=not site < contributor)
    slots &= np.uint64((1 << plain_bits) - 1)


def reconstruct(
    roster: Sequence[str], contributors: Collection[str], revealed: Mapping[str, Mapping[str, bytes]]
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Put the secrets together from what sites revealed.

    Parameters
    ----------
    revealed
        By site that answered: its share for every site of the roster.

    Returns
    -------
    tuple
        Secrets of the contributors' own streams, and mask seeds of the others.

    Raises
    ------
    ProtocolError
        ``missing_shares``: fewer sites answered than the threshold.
    """
    least = shamir.threshold(len(roster))
    givers = sorted(revealed)[:least]
    if len(givers) < least:
        raise ProtocolError(Reason.MISSING_SHARES, f"{len(givers)} of {least} sites revealed their shares")
    places = {site: place for place, site in enumerate(sorted(roster), 1)}
    coefficients = shamir.lagrange(tuple(places[giver] for giver in givers))
    secrets = {
        site: shamir.combine({places[giver]: revealed[giver].get(site, b"") for giver in givers}, coefficients)
        for site in roster
    }
    own = {site: secrets[site] for site in contributors}
    return own, {site: secret for site, secret in secrets.items() if site not in own}
