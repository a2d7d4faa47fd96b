"""The rounds of a job as the demo shows them: what the server says of them, and what each hospital says at home."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.result import Contribution, Round

WORKFLOW = "EncryptedFedAvg"


@dataclass(frozen=True)
class Progress:
    """The server's words on a job (``show_stats server`` of the admin console, ``rounds.json``).

    Attributes
    ----------
    sites
        The sites of the key ceremony, which every round should have.
    open_rounds
        Numbers of the rounds that are under way.
    """

    phase: str
    sites: tuple[str, ...]
    rounds: tuple[Round, ...]
    open_rounds: frozenset[int] = frozenset()
    error: str | None = None

    def waiting_for(self, one: Round) -> tuple[str, ...]:
        """Whom a round lacks while it may still come; at last the server, which closes the sum."""
        if one.number not in self.open_rounds:
            return ()
        return tuple(s for s in self.sites if s not in _present(one)) or ("server",)


def _present(one: Round) -> set[str]:
    return {part.site for part in one.contributions}


def from_stats(stats: Mapping[str, Any], images: Mapping[str, int]) -> Progress | None:
    """Read a reply of ``show_stats server``.

    Parameters
    ----------
    stats
        Target → component → what it says.
    images
        Training images of each site. No site tells the server: the demo asks the hospitals' own disks.

    Returns
    -------
    Progress or None
        None while the job has not started.
    """
    for said in stats.values():
        if isinstance(said, Mapping) and isinstance(said.get(WORKFLOW), Mapping):
            return from_journal(said[WORKFLOW], images)
    return None


def from_journal(journal: Mapping[str, Any], images: Mapping[str, int]) -> Progress:
    """Read what the workflow keeps of itself."""
    sites = tuple(journal["sites"])
    rounds = tuple(_round(one, sites, images) for one in journal["rounds"])
    under_way = frozenset(one["number"] for one in journal["rounds"] if _is_open(one))
    return Progress(journal["phase"], sites, rounds, under_way, journal["error"])


def _is_open(one: Mapping[str, Any]) -> bool:
    return not one["seconds"]


def _round(one: Mapping[str, Any], sites: tuple[str, ...], images: Mapping[str, int]) -> Round:
    parts = tuple(
        Contribution(
            site=site,
            loss=part["metrics"].get("loss", 0.0),
            seconds=part["seconds"],
            images=images.get(site, 0),
            bytes_up=part["bytes_up"],
            bytes_down=one["bytes_down"],
        )
        for site, part in sorted(one["sites"].items())
        if part["refused"] is None
    )
    there = {part.site for part in parts}
    missing = () if _is_open(one) else tuple(site for site in sites if site not in there)
    seconds = one["seconds"] or max(0.0, time.time() - one["started"])
    return Round(number=one["number"], seconds=seconds, contributions=parts, missing=missing)


def training_images(folders: Mapping[str, Path]) -> dict[str, int]:
    """How many images each hospital trains on, from the record it keeps beside its model."""
    counts = {}
    for site, folder in folders.items():
        try:
            counts[site] = int(json.loads((folder / "rounds.jsonl").read_text().splitlines()[-1])["images"])
        except (OSError, IndexError, ValueError):
            counts[site] = 0
    return counts
