"""Statuses of C-STORE that we answer with (PS3.4, table B.2-1, and PS3.7, annex C)."""

from __future__ import annotations

from enum import IntEnum


class StoreStatus(IntEnum):
    """Each is a failure but the first; a peer that gets one still owns the instance."""

    SUCCESS = 0x0000
    INVALID_SOP_INSTANCE = 0x0117
    OUT_OF_RESOURCES = 0xA700
    DOES_NOT_MATCH_SOP_CLASS = 0xA900
    CANNOT_UNDERSTAND = 0xC000
