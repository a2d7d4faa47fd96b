"""When to pull and whether to try again: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from client_plugin.config import PullConfig, Window
from client_plugin.dicom.pull.source import FINAL, PullReason


def is_open(windows: Sequence[Window], now: datetime) -> bool:
    """Whether ``now``, in the windows' time zone, lies in one of them; no windows: always.

    Examples
    --------
    >>> nights = [Window(start=time(22), end=time(6))]
    >>> [is_open(nights, datetime(2026, 1, 1, hour)) for hour in (5, 6, 21, 22)]
    [True, False, False, True]
    """
    return not windows or any(_within(window, now.time()) for window in windows)


def _within(window: Window, moment: time) -> bool:
    if window.start <= window.end:
        return window.start <= moment < window.end
    return moment >= window.start or moment < window.end


def next_opening(windows: Sequence[Window], now: datetime) -> datetime:
    """The next moment in one of the windows: ``now``, if it is."""
    if is_open(windows, now):
        return now
    starts = [datetime.combine(now.date(), window.start, now.tzinfo) for window in windows]
    return min(start if start > now else start + timedelta(days=1) for start in starts)


def may_start_at(last_start: datetime | None, instances: int | None, config: PullConfig) -> datetime | None:
    """When the rate limits allow the next study; None: at once.

    Each study takes its share of an hour, and the next one waits for the end of it: on average the limits hold.

    Parameters
    ----------
    last_start
        When the latest study was begun.
    instances
        How many it has; None: not known, and not limited.

    Examples
    --------
    >>> noon = datetime(2026, 1, 1, 12)
    >>> may_start_at(noon, 500, PullConfig(instances_per_hour=1000, studies_per_hour=10))
    datetime.datetime(2026, 1, 1, 12, 30)
    """
    if last_start is None:
        return None
    shares = [
        amount / limit
        for amount, limit in ((1, config.studies_per_hour), (instances or 0, config.instances_per_hour))
        if limit
    ]
    return last_start + timedelta(hours=max(shares)) if shares else None


def backoff(tries: int, first: float, longest: float, draw: float) -> timedelta:
    """How long to wait after the try number ``tries``.

    Doubled for each try, then lowered by up to a half at random, so that many studies that failed together do not
    come back together.

    Parameters
    ----------
    first, longest
        Seconds.
    draw
        Uniform in [0, 1).

    Examples
    --------
    >>> [backoff(tries, 30, 3600, 0).seconds for tries in (1, 2, 3, 20)]
    [30, 60, 120, 3600]
    >>> backoff(1, 30, 3600, 0.5).total_seconds()
    22.5
    """
    full = min(longest, first * 2.0 ** min(tries - 1, 60))
    return timedelta(seconds=full * (1 - draw / 2))


@dataclass(frozen=True)
class Done:
    """Every instance is here."""


@dataclass(frozen=True)
class Again:
    """Another try, after a while."""

    reason: PullReason
    after: timedelta


@dataclass(frozen=True)
class GiveUp:
    """A terminal state."""

    reason: PullReason


def decide(
    *, problem: PullReason | None, missing: int | None, tries: int, config: PullConfig, draw: float
) -> Done | Again | GiveUp:
    """What follows from a try.

    Parameters
    ----------
    problem
        What went wrong, if something did.
    missing
        Instances of the study that are not here; None: it is not known which there are.
    tries
        Number of this try, from 1.
    draw
        Uniform in [0, 1), for the backoff.

    Notes
    -----
    Instances are counted here, whatever the source says: a study of which nothing is missing is done even if its last
    answer got lost, and one that the source calls complete is not as long as something is.
    """
    if missing == 0:
        return Done()
    reason = problem or PullReason.INCOMPLETE
    if reason in FINAL or tries >= config.max_tries:
        return GiveUp(reason)
    return Again(reason, backoff(tries, config.retry_seconds, config.retry_max_seconds, draw))
