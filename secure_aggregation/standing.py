"""How far a site's model is, and what of it the executor was not given yet."""

from __future__ import annotations

from secure_aggregation import keeping
from secure_aggregation.catching_up import RunningTotal
from secure_aggregation.ceremony import Settings
from secure_aggregation.encoding import Mean
from secure_aggregation.errors import ProtocolError, Reason
from secure_aggregation.layout import Layout, Vector
from secure_aggregation.opening import Opened
from secure_aggregation.rounds import Sum

AUXILIARY = "aux/"
"""Tensors whose names begin so are summed with the others, and no server optimiser touches them: the mean over the
contributors, times the part of the epoch's sites that they are."""


class Standing:
    """The running total of one job at one site.

    An executor starts from the job's seed and adds what it gets. So after a restart it is owed the whole total, after
    an absence what was missed, and otherwise nothing but the newest step.

    Parameters
    ----------
    settings
        From the job.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._total: RunningTotal | None = None
        self._owed: Vector | None = None
        self._given: Opened | None = None
        self._most_weight = 0.0

    @property
    def step(self) -> int:
        """The last sum that the model has; -1: none."""
        return self._total.step if self._total else -1

    @property
    def total(self) -> RunningTotal | None:
        """The model; None before the first sum."""
        return self._total

    @property
    def digest(self) -> bytes | None:
        """Of the model; None before the first sum."""
        return self._total.digest if self._total else None

    def again(self, contributors: frozenset[str], layout: Layout | None) -> Opened | None:
        """The answer to a sum that the model has already.

        Raises
        ------
        ProtocolError
            ``second_reveal``: it comes with other names this time.
        """
        if self._total is not None and frozenset(self._total.contributors) != contributors:
            raise ProtocolError(Reason.SECOND_REVEAL, f"a second sum of round {self.step}, of other sites")
        return self.hand_out(layout)

    def hand_out(self, layout: Layout | None) -> Opened | None:
        """What the executor gets when no new sum comes: what it is owed, or the same as the last time."""
        if self._owed is not None and self._total is not None and layout is not None:
            tensors, self._owed = layout.unflatten(self._owed), None
            self._given = Opened(self._total.step, tensors, 0.0, self._total.contributors, 0)
        return self._given

    def check_next(self, step: int) -> None:
        """Whether the sum ``step`` is the next one.

        Raises
        ------
        ProtocolError
            ``missed_sum``.
        """
        if step != self.step + 1:
            raise ProtocolError(
                Reason.MISSED_SUM, f"the sum of round {step}, but this site's model is at round {self.step}"
            )

    def add(self, total: Sum, mean: Mean, budget: int, layout: Layout, sites: int) -> Opened:
        """Take the mean of the next sum, of an epoch of so many sites, into the model; the answer is for the executor.

        Raises
        ------
        ProtocolError
            ``too_little_data``.
        """
        if mean.weight < self._settings.min_share * self._most_weight:
            raise ProtocolError(Reason.TOO_LITTLE_DATA, f"round {total.step}: a sum of too small a share of the data")
        self._most_weight = max(self._most_weight, mean.weight)
        step, contributors, optimizer = total.step, total.contributors, self._settings.optimizer
        if self._settings.full_weights:
            self._total, given = RunningTotal(step, contributors, mean.vector), mean.vector
        else:
            before = self._total or RunningTotal.start(layout.size, optimizer)
            auxiliary = layout.span(AUXILIARY)
            self._total, given = before.after(step, contributors, mean.vector, optimizer, auxiliary, sites)
            given = given if self._owed is None else self._owed + given
        self._owed = None
        self._given = Opened(step, layout.unflatten(given), mean.weight, contributors, budget)
        return self._given

    def catch_up(self, total: RunningTotal) -> None:
        """Take another site's total; the executor gets what this site missed with the next message.

        Raises
        ------
        ProtocolError
            ``wrong_round``: it is older than this site's own.
        """
        if total.step < self.step:
            raise ProtocolError(Reason.WRONG_ROUND, f"a running total of round {total.step}: this site has more")
        missed = total.vector
        if self._total is not None and not self._settings.full_weights:
            missed = missed - self._total.vector
            missed = missed if self._owed is None else self._owed + missed
        self._owed, self._total = missed, total

    def keep(self, layout: Layout) -> bytes | None:
        """The model in bytes, for :meth:`take`; None before the first sum."""
        return keeping.pack_model(self._settings, layout, self._total, self._most_weight) if self._total else None

    def take(self, kept: bytes, layout: Layout) -> None:
        """Go on from a kept model.

        Raises
        ------
        ProtocolError
            ``layout_differs``, ``parameters_differ``: kept by another kind of job; ``malformed``.
        """
        self._total, self._most_weight = keeping.unpack_model(kept, self._settings, layout)
        self._owed = self._total.vector
