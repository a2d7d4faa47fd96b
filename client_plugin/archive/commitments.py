"""Storage commitment requests that were taken and not answered yet. They survive a restart."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update

from client_plugin.archive.database import Database
from client_plugin.archive.models import CommitmentRequest

LEASE = timedelta(minutes=5)
"""How long a process has for one try; after that another may take the request over."""


@dataclass(frozen=True)
class CommitmentDue:
    """A request that was claimed; ``tries`` counts this one, ``request`` is sealed."""

    id: int
    peer: str
    request: bytes
    tries: int
    created_at: datetime


class Commitments(Database):
    """The queue of reports."""

    def keep_commitment(self, peer: str, request: bytes, now: datetime) -> None:
        """Keep a request of ``peer``; it will be answered when this has returned."""
        with self.writing() as session:
            session.add(CommitmentRequest(peer=peer, request=request, tries=0, created_at=now, next_try_at=now))

    def commitment_due(self, now: datetime) -> bool:
        """Whether there is one to be answered: cheaper than trying to claim one."""
        with self.reading() as session:
            due = select(CommitmentRequest.id).where(CommitmentRequest.next_try_at <= now).limit(1)
            return session.scalars(due).one_or_none() is not None

    def claim_commitment(self, now: datetime) -> CommitmentDue | None:
        """The request that waits longest; nobody else gets it for `LEASE`."""
        due = select(CommitmentRequest).where(CommitmentRequest.next_try_at <= now)
        first = due.order_by(CommitmentRequest.next_try_at, CommitmentRequest.id).limit(1)
        with self.writing() as session:
            row = session.scalars(first.with_for_update(skip_locked=True)).one_or_none()
            if row is None:
                return None
            row.tries, row.next_try_at = row.tries + 1, now + LEASE
            return CommitmentDue(row.id, row.peer, row.request, row.tries, row.created_at)

    def commitment_again(self, due: CommitmentDue, at: datetime) -> None:
        """It could not be answered; try again at ``at``."""
        with self.writing() as session:
            change = update(CommitmentRequest).where(CommitmentRequest.id == due.id)
            session.execute(change.values(next_try_at=at))

    def commitment_settled(self, due: CommitmentDue) -> None:
        """It was answered, or given up: forget it."""
        with self.writing() as session:
            session.execute(delete(CommitmentRequest).where(CommitmentRequest.id == due.id))
