"""Whether a study that has become quiet is whole: a pure decision."""

from __future__ import annotations

from datetime import timedelta

from client_plugin.archive.models import Completeness


def judge(
    here: int, expected: int | None, *, pending: bool, waited: timedelta, patience: timedelta
) -> Completeness | None:
    """How complete a quiet study is; None: wait.

    Parameters
    ----------
    here
        Its instances that arrived: archived, or set aside.
    expected
        How many its PACS has, if it told.
    pending
        The PACS is still to be asked (again), or its pull has failed.
    waited
        Since the last instance arrived.
    patience
        After so long a study is sealed as it is.

    Notes
    -----
    More than the PACS counts is complete: it may have moved or deleted some since, and nothing is missing here.

    Examples
    --------
    >>> hour = timedelta(hours=1)
    >>> judge(20, 20, pending=False, waited=hour / 60, patience=hour)
    <Completeness.COMPLETE: 'complete'>
    >>> judge(18, 20, pending=False, waited=hour / 60, patience=hour) is None
    True
    >>> judge(18, 20, pending=False, waited=2 * hour, patience=hour)
    <Completeness.INCOMPLETE: 'incomplete'>
    """
    agrees = expected is not None and here >= expected
    if agrees and not pending:
        return Completeness.COMPLETE
    if waited < patience and (pending or expected is not None):
        return None
    if expected is None:
        return Completeness.UNKNOWN
    return Completeness.COMPLETE if agrees else Completeness.INCOMPLETE
