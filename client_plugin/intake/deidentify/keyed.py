"""Keyed replacements: the same input gives the same output at this site, for ever, in every process.

Each purpose has a key of its own, so that none of the outputs says anything about another.
"""

from __future__ import annotations

import base64
import hmac
from typing import Literal, Protocol

#: A patient's dates move back by 1 to this many days (ten years).
MAX_SHIFT_DAYS = 3652


class Keys(Protocol):
    """What is needed of the site's keys; ``client_plugin.archive.keys.SiteKeys`` is one."""

    def derive(self, purpose: Literal["uid", "pseudonym", "dates"]) -> bytes:
        """32 bytes that belong to ``purpose`` alone."""


class Keyed:
    """HMAC-SHA-256 under the site's keys "uid", "pseudonym" and "dates"."""

    def __init__(self, keys: Keys) -> None:
        self._uid, self._pseudonym, self._dates = (
            keys.derive("uid"),
            keys.derive("pseudonym"),
            keys.derive("dates"),
        )

    def uid(self, original: str) -> str:
        """Replace a UID by a UUID-derived one (PS3.5 B.2).

        Returns
        -------
        str
            ``2.25.`` and the integer of a version 8 UUID (RFC 9562): 122 bits of the HMAC.
        """
        raw = bytearray(hmac.digest(self._uid, original.encode(), "sha256")[:16])
        raw[6] = (raw[6] & 0x0F) | 0x80
        raw[8] = (raw[8] & 0x3F) | 0x80
        return f"2.25.{int.from_bytes(raw)}"

    def pseudonym(self, patient: str) -> str:
        """The pseudonym of a patient: ``P`` and 16 characters of base 32 (80 bits)."""
        digest = hmac.digest(self._pseudonym, patient.encode(), "sha256")
        return "P" + base64.b32encode(digest[:10]).decode()

    def shift_days(self, patient: str) -> int:
        """How far the patient's dates move, in days: between ``-MAX_SHIFT_DAYS`` and -1."""
        digest = hmac.digest(self._dates, patient.encode(), "sha256")
        return -1 - int.from_bytes(digest[:8]) % MAX_SHIFT_DAYS
