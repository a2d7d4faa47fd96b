"""The server's half of the protocol: it relays, checks signatures, and adds. It holds no key, and imports no SEAL.

:class:`Ceremony` collects one epoch's messages; :class:`RunningSum` adds updates one by one as they arrive, into one
accumulator whose size does not depend on the number of sites.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from secure_aggregation import ceremony, messages, packing, revealing, rounds, shamir
from secure_aggregation.ceremony import Announcement, Roster, Settings, Wire
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.identity import Authority
from secure_aggregation.parameters import DEGREE, Parameters

_CHUNK = 64
"""Polynomials added at a time: bounds the memory beside the accumulator to a few megabytes."""


class Ceremony:
    """One epoch's key ceremony, seen from the server.

    The checks here name a fault early; the sites make all of them again and do not rely on these.
    """

    def __init__(self, job: str, epoch: int, settings: Settings, authority: Authority) -> None:
        self.job = job
        self.epoch = epoch
        self.settings = settings
        self._authority = authority
        self._announcements: dict[str, Announcement] = {}
        self._boxes: dict[str, dict[str, str]] = {}
        self._secret = b""
        self._confirmations: dict[str, bytes] = {}
        self._roster: Roster | None = None
        self.layout: bytes | None = None

    def request(self) -> Wire:
        """First message, the same for all."""
        return ceremony.announce_request(self.job, self.epoch)

    def announced(self, site: str, wire: messages.Buffer) -> None:
        """Take a site's announcement."""
        if site in self._announcements:
            raise ProtocolError(Reason.DUPLICATE_SITE, f"{site} announced itself twice")
        now = datetime.datetime.now(datetime.UTC)
        one = ceremony.read_announcement(wire, self.job, self.epoch, site, self._authority, now)
        if dict(one.settings) != self.settings.fields():
            raise ProtocolError(Reason.PARAMETERS_DIFFER, f"{site} announced other settings than the server's job")
        self._announcements[site] = one

    def roster(self) -> Roster:
        """Close the list of sites.

        Raises
        ------
        ProtocolError
            ``too_few_sites``.
        """
        if self._roster is None:
            self.settings.parameters(len(self._announcements))
            self._roster = Roster(self.job, self.epoch, dict(self._announcements))
        return self._roster

    def shared(self, site: str, wire: messages.Buffer) -> None:
        """Take a site's boxes."""
        message = messages.decode(wire, ceremony.SHARES)
        ceremony.expect(message, self.job, self.epoch)
        if site not in self.roster().members or site in self._boxes:
            raise ProtocolError(Reason.DUPLICATE_SITE, f"{site} is not in the roster, or sent its boxes twice")
        self._boxes[site] = {str(k): str(v) for k, v in message.table("boxes").items()}
        if site == self.roster().leader:
            self._secret = message.body.tobytes()

    def delivery(self, site: str) -> Wire:
        """The boxes for one site."""
        boxes = {sender: box[site] for sender, box in self._boxes.items() if site in box}
        return messages.encode(
            ceremony.DELIVERY, {"job": self.job, "epoch": self.epoch, "boxes": boxes}, None, self._secret
        )

    def confirmed(self, site: str, wire: messages.Buffer) -> None:
        """Take a site's confirmation."""
        message = ceremony.read_confirmation(wire, self.roster(), site)
        layout = message.raw("layout")
        if layout and self.layout and layout != self.layout:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site} trains a network with other tensors than the others")
        self.layout = self.layout or layout or None
        self._confirmations[site] = np.frombuffer(wire, np.uint8).tobytes()

    def ready(self) -> Wire:
        """The last message, the same for all.

        Raises
        ------
        ProtocolError
            ``missing_shares``: a site of the roster has not confirmed.
        """
        missing = set(self.roster().members) - set(self._confirmations)
        if missing:
            raise ProtocolError(Reason.MISSING_SHARES, f"no confirmation of {', '.join(sorted(missing))}")
        return ceremony.ready(self.roster(), self._confirmations)


class RunningSum:
    """The sum of one round, as it grows.

    Parameters
    ----------
    roster
        Who may contribute.
    parameters
        Of the epoch.
    step
        Which round.
    layout
        Keyed digest of the layout that all sites confirmed, or None: the first update decides.
    """

    def __init__(self, roster: Roster, parameters: Parameters, step: int, layout: bytes | None = None) -> None:
        self.roster = roster
        self.parameters = parameters
        self.step = step
        self._layout = layout
        self._updates: dict[str, rounds.Update] = {}
        self._revealed: dict[str, bytes] = {}
        self._total: npt.NDArray[np.uint64] | None = None
        self._closed = False
        self.seconds = 0.0

    @property
    def contributors(self) -> tuple[str, ...]:
        return tuple(sorted(self._updates))

    @property
    def updates(self) -> Mapping[str, rounds.Update]:
        """Headers and seeds of what was added; the payloads are gone."""
        return self._updates

    def add(self, site: str, wire: messages.Buffer) -> None:
        """Check one update and add it. Either all of it is added or nothing.

        Raises
        ------
        ProtocolError
            With the reason; the sum is as before.
        """
        start = time.perf_counter()
        if self._closed:
            raise ProtocolError(Reason.WRONG_ROUND, f"{site}: round {self.step} is closed")
        update = rounds.read_update(wire, self.roster, site, self.step, self.parameters)
        if site in self._updates:
            raise ProtocolError(Reason.DUPLICATE_SITE, f"{site} has contributed to round {self.step}")
        if self._layout is not None and update.layout != self._layout:
            raise ProtocolError(Reason.LAYOUT_DIFFERS, f"{site}: tensors of another layout")
        if self._total is None:
            planes = max(1, len(self.parameters.primes))
            self._total = np.zeros((update.ciphertexts, planes, DEGREE), np.uint64)
        if update.ciphertexts != len(self._total):
            raise ProtocolError(
                Reason.LAYOUT_DIFFERS, f"{site}: {update.ciphertexts} ciphertexts, not {len(self._total)}"
            )
        # The parameters were checked for this: so many residues fit in a word without reduction.
        for first in range(0, update.ciphertexts, _CHUNK):
            part = slice(first, min(first + _CHUNK, update.ciphertexts))
            self._total[part] += self._unpack(update.payload, part)
        self._layout = update.layout
        # A copy of the seeds, so that the payload they are a view into can go.
        self._updates[site] = replace(update, seeds=update.seeds.copy(), payload=np.empty(0, np.uint8))
        self.seconds += time.perf_counter() - start

    def _unpack(self, payload: npt.NDArray[np.uint8], part: slice) -> npt.NDArray[np.uint64]:
        p = self.parameters
        packed = payload[rounds.payload_bytes(part.start, p) : rounds.payload_bytes(part.stop, p)]
        if p.encryption.he:
            return packing.unpack_residues(packed, p.ring, DEGREE)
        return packing.unpack_words(packed, p.plain_bytes).reshape(-1, 1, DEGREE)

    def finish(self) -> Wire:
        """The packed sum.

        Raises
        ------
        ProtocolError
            ``too_few_sites``: nobody contributed.
        """
        if self._total is None:
            raise ProtocolError(Reason.TOO_FEW_SITES, f"nobody contributed to round {self.step}")
        start = time.perf_counter()
        p = self.parameters
        parts = []
        for first in range(0, len(self._total), _CHUNK):
            chunk = self._total[first : first + _CHUNK]
            if p.encryption.he:
                chunk = chunk % np.array(p.primes, np.uint64)[None, :, None]
                parts.append(packing.pack_residues(chunk, p.ring))
            else:
                parts.append(packing.pack_words(chunk & np.uint64((1 << p.plain_bits) - 1), p.plain_bytes))
        packed = np.concatenate(parts)
        self.seconds += time.perf_counter() - start
        return packed

    def reveal(self, site: str) -> Wire:
        """With masks: the question to one site, for this set of contributors. The sum takes no update after the
        first.
        """
        self._closed = True
        updates = {one: (update.header, update.boxes) for one, update in self._updates.items()}
        return revealing.reveal(self.roster, site, self.step, updates)

    def revealed(self, site: str, wire: messages.Buffer) -> None:
        """Take a site's shares."""
        revealing.check_revealed(wire, self.roster, site, self.step, self._updates)
        self._revealed[site] = np.frombuffer(wire, np.uint8).tobytes()

    @property
    def unmasked(self) -> bool:
        """Whether as many sites revealed as are needed to open the sum."""
        needed = shamir.threshold(len(self.roster.members)) if self.parameters.encryption.masks else 0
        return len(self._revealed) >= needed

    def close(self) -> rounds.Closed:
        """The sum as the sites get it.

        Raises
        ------
        ProtocolError
            ``missing_shares``: with masks, fewer sites revealed than the threshold; ``too_few_sites``: nobody
            contributed.
        """
        if not self.unmasked:
            raise ProtocolError(
                Reason.MISSING_SHARES, f"round {self.step}: only {len(self._revealed)} sites revealed their shares"
            )
        self._closed = True
        return rounds.Closed(self.roster, self.step, list(self._updates.values()), self.finish(), self._revealed)
