"""The spool's side of the catalogue: what was received, who works on it, and what was put into quarantine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cached_property
from itertools import takewhile
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from client_plugin.archive.database import Database
from client_plugin.archive.models import Forgotten, Quarantine, Received, ReceivedState

LEASE = timedelta(minutes=10)  # a claim older than this belongs to a worker that is gone
MAX_TRIES = 3
_MANY = 10_000  # values in one question to the database, which allows a few ten thousand
_REASON = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")  # a name, never a sentence with somebody's data in it


class Outcome(StrEnum):
    """What became of a received instance.

    stored: it is new, the spool keeps it. duplicate: the same bytes are here already, the spool file can go.
    conflict: other bytes under a known UID; the first is kept, this spool file is in quarantine.
    """

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"


class CatalogueReason(StrEnum):
    """Reasons for quarantine that the catalogue itself gives."""

    UID_CONFLICT = "uid-conflict"
    TOO_MANY_TRIES = "too-many-tries"


@dataclass(frozen=True, kw_only=True)
class NewReceived:
    """A spool file that is durable under its name.

    Parameters
    ----------
    uid_digest
        Keyed digest of the original SOP Instance UID: at most 64 characters.
    content_digest
        Digest of the data set as received: at most 64 characters.
    """

    spool_name: str
    uid_digest: str
    content_digest: str
    sop_class_uid: str
    transfer_syntax_uid: str
    size: int
    source_ae: str
    received_at: datetime


@dataclass(frozen=True, kw_only=True)
class ReceivedRow(NewReceived):
    """A claimed row of the spool; ``tries`` counts this one."""

    id: int
    tries: int


@dataclass(frozen=True)
class QuarantinedRow:
    id: int
    spool_name: str
    reason: str
    source_ae: str
    size: int
    quarantined_at: datetime


# Two questions: one about both would sort the whole backlog, each time. (PostgreSQL locks the rows of both, and other
# workers pass over them for a moment.) Made once, for that costs as much as to ask.
_OLDEST = (
    select(*(getattr(Received, field.name) for field in fields(ReceivedRow)))
    .order_by(Received.id)
    .limit(bindparam("limit"))
    .with_for_update(skip_locked=True)
)
_PENDING = _OLDEST.where(Received.state == ReceivedState.PENDING)
_STALE = _OLDEST.where(Received.state == ReceivedState.CLAIMED, Received.claimed_at < bindparam("before"))
_CLAIM = (
    update(Received)
    .where(Received.id.in_(bindparam("these", expanding=True)))
    .values(
        state=ReceivedState.CLAIMED,
        worker=bindparam("by"),
        claimed_at=bindparam("now"),
        tries=Received.tries + 1,
    )
)


class ReceivedRows(Database):
    """The queue between the listener and the workers."""

    def record_received(self, batch: Sequence[NewReceived]) -> list[Outcome]:
        """Record a batch in one transaction (group commit); the outcomes are in its order.

        An instance that is in conflict is in quarantine when this returns.
        """
        if not batch:
            return []
        # Sorted, so that two processes with overlapping batches wait for each other in one order (PostgreSQL).
        rows = sorted((_values(new) for new in batch), key=lambda row: str(row["uid_digest"]))
        # Below the ORM, and with one prepared statement: it is the transaction that a PACS waits for.
        with self._writing_below_orm() as connection:
            stored = set(connection.scalars(self._insert_received, rows))
            known: dict[str, str] = {}
            if len(stored) < len(batch):
                digests = [new.uid_digest for new in batch]
                found = select(Received.uid_digest, Received.content_digest).where(Received.uid_digest.in_(digests))
                known = {row.uid_digest: row.content_digest for row in connection.execute(found)}
            outcomes = [_outcome(new, stored, known) for new in batch]
            conflicts = [new for new, outcome in zip(batch, outcomes, strict=True) if outcome is Outcome.CONFLICT]
            if conflicts:  # rare: a session costs as much as the rest of the transaction
                with Session(connection) as session, session.begin():
                    session.add_all(
                        _quarantined(new, CatalogueReason.UID_CONFLICT, new.received_at) for new in conflicts
                    )
        return outcomes

    @cached_property
    def _insert_received(self) -> Any:
        return self.insert_new(Received).returning(Received.spool_name)

    def record_quarantined(self, new: NewReceived, reason: StrEnum) -> None:
        """Record a spool file that never entered the queue, for example because it could not be parsed."""
        with self.writing() as session:
            session.add(_quarantined(new, reason, new.received_at))

    def received_digests(self, uid_digests: Iterable[str]) -> set[str]:
        """Those of ``uid_digests`` that are here for good: in the archive, the queue or a releasable quarantine."""
        wanted, known = [*uid_digests], set[str]()
        with self.reading() as session:
            for at in range(0, len(wanted), _MANY):
                some = Received.uid_digest.in_(wanted[at : at + _MANY])
                known.update(session.scalars(select(Received.uid_digest).where(some)))
        return known

    def claim(
        self, worker: str, limit: int, *, lease: timedelta = LEASE, max_tries: int = MAX_TRIES
    ) -> list[ReceivedRow]:
        """Take up to ``limit`` rows to work on, oldest first; the claim is durable, and so is its try.

        Claims older than ``lease`` are taken over. A row that failed or killed its worker before is handed out alone,
        so that it takes no other down with it; one that did so ``max_tries`` times goes to quarantine when its turn
        comes.
        """
        now = datetime.now(UTC)
        with self._writing_below_orm() as connection:
            rows = _free(connection, limit, now - lease)
            while spent := [row.id for row in rows if row.tries >= max_tries]:
                with Session(connection) as session, session.begin():
                    for entry in session.scalars(select(Received).where(Received.id.in_(spent))).all():
                        self._set_aside(session, entry, CatalogueReason.TOO_MANY_TRIES, None, now)
                rows = _free(connection, limit, now - lease)
            taken = rows[:1] if rows and rows[0].tries else [*takewhile(lambda row: not row.tries, rows)]
            if taken:
                connection.execute(_CLAIM, {"these": [row.id for row in taken], "by": worker, "now": now})
        return [replace(row, tries=row.tries + 1) for row in taken]

    def release_claims(self, worker: str | None = None) -> int:
        """Return claims to the queue; returns how many.

        Parameters
        ----------
        worker
            One that died: the try stays counted against the row. None, when the node starts and no worker runs: the
            claims are left from a crash of the node, and the try is given back.
        """
        where: list[ColumnElement[bool]] = [Received.state == ReceivedState.CLAIMED]
        values: dict[str, object] = {"state": ReceivedState.PENDING, "worker": None, "claimed_at": None}
        if worker is None:
            values["tries"] = Received.tries - 1
        else:
            where.append(Received.worker == worker)
        with self.writing() as session:
            released = update(Received).where(*where).values(values).returning(Received.id)
            return len(session.scalars(released, execution_options={"synchronize_session": False}).all())

    def fail(self, row: ReceivedRow, reason: StrEnum, *, max_tries: int = MAX_TRIES) -> bool:
        """It could not be done this time. Back to the queue, or after ``max_tries`` to quarantine (then True)."""
        with self.writing() as session:
            entry = session.get_one(Received, row.id)
            spent = entry.tries >= max_tries
            if spent:
                self._set_aside(session, entry, reason, None, datetime.now(UTC))
            else:
                entry.state, entry.worker, entry.claimed_at = ReceivedState.PENDING, None, None
                entry.reason = reason_name(reason)
            return spent

    def quarantine(
        self, row: ReceivedRow, reason: StrEnum, pseudonym: str | None = None, study_uid: str | None = None
    ) -> bool:
        """Keep the sealed raw copy aside.

        Parameters
        ----------
        reason
            A member of a closed set; its value is a short name.
        pseudonym
            The patient, if known: `Archive.forget` then removes the copy too.
        study_uid
            What the study is called here, if known: the instance counts as arrived.

        Returns
        -------
        bool
            False: the patient was forgotten. The row is gone, and the caller deletes the file.
        """
        with self.writing() as session:
            entry = session.get_one(Received, row.id)
            if pseudonym is not None:
                forgotten = select(Forgotten.id).where(Forgotten.pseudonym == pseudonym)
                if session.scalars(forgotten).one_or_none() is not None:
                    session.delete(entry)
                    return False
            self._set_aside(session, entry, reason, pseudonym, datetime.now(UTC), study_uid)
            return True

    def quarantined(self) -> list[QuarantinedRow]:
        """Everything in quarantine, oldest first."""
        with self.reading() as session:
            return [
                QuarantinedRow(q.id, q.spool_name, q.reason, q.source_ae, q.size, q.quarantined_at)
                for q in session.scalars(select(Quarantine).order_by(Quarantine.id))
            ]

    def release_quarantined(self, quarantine_id: int) -> bool:
        """Give an instance that was set aside another round of tries; False if it never had a place in the queue."""
        with self.writing() as session:
            entry = session.get_one(Quarantine, quarantine_id)
            if entry.received_id is None:
                return False
            row = session.get_one(Received, entry.received_id)
            row.state, row.tries, row.reason = ReceivedState.PENDING, 0, None
            session.delete(entry)
            return True

    def drop_quarantined(self, spool_names: Iterable[str]) -> None:
        """Forget quarantined copies whose files are gone, and that they were ever received."""
        with self.writing() as session:
            gone = select(Quarantine.id, Quarantine.received_id).where(Quarantine.spool_name.in_([*spool_names]))
            for quarantine_id, received_id in session.execute(gone).all():
                session.execute(delete(Quarantine).where(Quarantine.id == quarantine_id))
                session.execute(delete(Received).where(Received.id == received_id))

    def postpone(self, rows: Iterable[ReceivedRow], worker: str) -> None:
        """Back to the queue what ``worker`` still has of ``rows``, as if it had not been claimed: nothing was wrong."""
        values = {"state": ReceivedState.PENDING, "worker": None, "claimed_at": None, "tries": Received.tries - 1}
        ids = [row.id for row in rows]
        with self.writing() as session:
            session.execute(
                update(Received)
                .where(Received.id.in_(ids), Received.state == ReceivedState.CLAIMED, Received.worker == worker)
                .values(values),
                execution_options={"synchronize_session": False},
            )

    def discard(self, row: ReceivedRow) -> None:
        """Drop a row for good, as if it had never been received; the caller deletes its file."""
        with self.writing() as session:
            session.execute(delete(Received).where(Received.id == row.id))

    def spool_names_in_use(self, spool_names: Iterable[str]) -> set[str]:
        """Those of ``spool_names`` that wait for a worker or are in quarantine; other files of the spool can go."""
        names, used = [*spool_names], set[str]()
        with self.reading() as session:
            for at in range(0, len(names), _MANY):
                some = names[at : at + _MANY]
                queued = Received.spool_name.in_(some) & (Received.state != ReceivedState.DONE)
                used.update(session.scalars(select(Received.spool_name).where(queued)))
                used.update(session.scalars(select(Quarantine.spool_name).where(Quarantine.spool_name.in_(some))))
        return used

    def backlog(self) -> tuple[int, datetime | None]:
        """How many instances wait in the spool, and since when the oldest does."""
        with self.reading() as session:
            return waiting(session)

    @staticmethod
    def _set_aside(
        session: Session,
        row: Received,
        reason: StrEnum,
        pseudonym: str | None,
        now: datetime,
        study_uid: str | None = None,
    ) -> None:
        row.state, row.worker, row.claimed_at, row.reason = ReceivedState.QUARANTINED, None, None, reason_name(reason)
        session.add(
            Quarantine(
                spool_name=row.spool_name,
                reason=reason_name(reason),
                source_ae=row.source_ae,
                size=row.size,
                quarantined_at=now,
                received_id=row.id,
                pseudonym=pseudonym,
                study_uid=study_uid,
            )
        )


def waiting(session: Session) -> tuple[int, datetime | None]:
    """Rows that are pending or claimed, and when the oldest of them was received."""
    queue = Received.state.in_((ReceivedState.PENDING, ReceivedState.CLAIMED))
    count, oldest = session.execute(select(func.count(), func.min(Received.received_at)).where(queue)).one()
    return count, oldest


def _values(new: NewReceived) -> dict[str, object]:
    return {
        "spool_name": new.spool_name,
        "uid_digest": new.uid_digest,
        "content_digest": new.content_digest,
        "sop_class_uid": new.sop_class_uid,
        "transfer_syntax_uid": new.transfer_syntax_uid,
        "size": new.size,
        "source_ae": new.source_ae,
        "received_at": new.received_at,
        "state": ReceivedState.PENDING,
        "tries": 0,
    }


def _outcome(new: NewReceived, stored: set[str], known: dict[str, str]) -> Outcome:
    if new.spool_name in stored:
        return Outcome.STORED
    if known[new.uid_digest] == new.content_digest:
        return Outcome.DUPLICATE
    return Outcome.CONFLICT


def _free(connection: Connection, limit: int, before: datetime) -> list[ReceivedRow]:
    """The oldest rows that nobody works on, locked: pending ones, and those claimed ``before``."""
    found = (connection.execute(question, {"limit": limit, "before": before}) for question in (_PENDING, _STALE))
    rows = [ReceivedRow(**row._mapping) for answer in found for row in answer]
    return sorted(rows, key=lambda row: row.id)[:limit]


def _quarantined(new: NewReceived, reason: StrEnum, at: datetime) -> Quarantine:
    return Quarantine(
        spool_name=new.spool_name, reason=reason_name(reason), source_ae=new.source_ae, size=new.size, quarantined_at=at
    )


def reason_name(reason: StrEnum) -> str:
    """The value of a reason, once it is known to be a short name; raises `TypeError`."""
    if not isinstance(reason, StrEnum) or not _REASON.fullmatch(reason.value):
        raise TypeError("a reason is a member of a closed set of names (a StrEnum), never free text")
    return reason.value
