"""The catalogue's tables.

Every UID here is a de-identified one and every patient is a pseudonym. The rows of the spool know an instance only by
keyed digests of its original UID and of its bytes, so the catalogue names nobody.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    TypeDecorator,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

UID = String(64)  # PS3.5: at most 64 characters
Identity = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows only in a column of type INTEGER


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite, which has no time zones, keeps it naive."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times in the catalogue carry a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        list[float]: JSON(none_as_null=True),
        dict[str, Any]: JSON(none_as_null=True),
    }


class StudyState(StrEnum):
    """*open*: instances still arrive. *sealed*: this version is complete and may be trained on."""

    OPEN = "open"
    SEALED = "sealed"


class Completeness(StrEnum):
    """Whether a sealed study has all instances that its PACS counts.

    *complete*: it has. *incomplete*: some did not come in time, or could not be had. *unknown*: no PACS told.
    """

    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    UNKNOWN = "unknown"


class ReceivedState(StrEnum):
    """Where an instance of the spool stands."""

    PENDING = "pending"
    CLAIMED = "claimed"
    DONE = "done"
    QUARANTINED = "quarantined"


class PullState(StrEnum):
    """Where a study stands that is to be had from a PACS; *done* and *failed* are final."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class Patient(Base):
    """A pseudonym and the data key of everything archived under it, wrapped by the site key."""

    __tablename__ = "patients"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(64), unique=True)
    wrapped_key: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]
    studies: Mapped[list[Study]] = relationship(back_populates="patient", passive_deletes=True)


class Study(Base):
    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    uid: Mapped[str] = mapped_column(UID, unique=True)
    patient_id: Mapped[int] = mapped_column(ForeignKey("patients.id", ondelete="CASCADE"), index=True)
    description: Mapped[str] = mapped_column(String(256), default="")
    state: Mapped[str] = mapped_column(String(16), index=True)
    version: Mapped[int]
    first_received: Mapped[datetime]
    last_received: Mapped[datetime]
    patient: Mapped[Patient] = relationship(back_populates="studies")
    series: Mapped[list[Series]] = relationship(back_populates="study", passive_deletes=True)
    versions: Mapped[list[StudyVersion]] = relationship(back_populates="study", passive_deletes=True)


class StudyVersion(Base):
    """A sealed, immutable state of a study: the instances whose ``version`` is not above ``number``."""

    __tablename__ = "study_versions"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    sealed_at: Mapped[datetime]
    instances: Mapped[int]
    digest: Mapped[str] = mapped_column(String(64))
    expected: Mapped[int | None]
    completeness: Mapped[str] = mapped_column(String(16), server_default=Completeness.UNKNOWN)
    study: Mapped[Study] = relationship(back_populates="versions")


class StudyCount(Base):
    """An open study whose PACS is asked how many instances it has, until it is sealed.

    ``target`` is what the PACS calls it, sealed; ``expected`` what it answered at ``asked_at``, None: no such study.
    """

    __tablename__ = "study_counts"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), unique=True)
    target: Mapped[bytes] = mapped_column(LargeBinary)
    expected: Mapped[int | None]
    asked_at: Mapped[datetime | None]
    next_ask_at: Mapped[datetime]
    tries: Mapped[int]


class Series(Base):
    """A series; its geometry is filled in each time its study is sealed."""

    __tablename__ = "series"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    uid: Mapped[str] = mapped_column(UID, unique=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), index=True)
    modality: Mapped[str] = mapped_column(String(16), index=True)
    body_part: Mapped[str] = mapped_column(String(64), default="")
    description: Mapped[str] = mapped_column(String(256), default="")
    frame_of_reference_uid: Mapped[str] = mapped_column(UID, default="")
    geometry: Mapped[dict[str, Any] | None]
    study: Mapped[Study] = relationship(back_populates="series")
    instances: Mapped[list[Instance]] = relationship(back_populates="series", passive_deletes=True)


class Instance(Base):
    """One archived SOP instance; ``version`` is the study version it arrived in, ``sha256`` of its plain bytes."""

    __tablename__ = "instances"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    uid: Mapped[str] = mapped_column(UID, unique=True)
    series_id: Mapped[int] = mapped_column(ForeignKey("series.id", ondelete="CASCADE"), index=True)
    version: Mapped[int]
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    number: Mapped[int | None]
    rows: Mapped[int]
    columns: Mapped[int]
    frames: Mapped[int]
    position: Mapped[list[float] | None]
    orientation: Mapped[list[float] | None]
    pixel_spacing: Mapped[list[float] | None]
    slice_thickness: Mapped[float | None]
    location: Mapped[float | None]
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(String(64))
    rules: Mapped[str] = mapped_column(String(16), server_default="")
    archived_at: Mapped[datetime]
    series: Mapped[Series] = relationship(back_populates="instances")
    references: Mapped[list[Reference]] = relationship(passive_deletes=True)
    labels: Mapped[list[Label]] = relationship(passive_deletes=True)


class Reference(Base):
    """A label instance (SEG, RTSTRUCT) says which series it was drawn on."""

    __tablename__ = "series_references"
    __table_args__ = (UniqueConstraint("instance_id", "series_uid"),)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id", ondelete="CASCADE"))
    series_uid: Mapped[str] = mapped_column(UID, index=True)


class Label(Base):
    """One segment of a SEG or one region of an RTSTRUCT."""

    __tablename__ = "labels"
    __table_args__ = (UniqueConstraint("instance_id", "number"),)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    instance_id: Mapped[int] = mapped_column(ForeignKey("instances.id", ondelete="CASCADE"))
    number: Mapped[int]
    name: Mapped[str] = mapped_column(String(64), index=True)


class Received(Base):
    """An instance that was answered with success and is, or was, in the spool."""

    __tablename__ = "received"
    __table_args__ = (Index("ix_received_queue", "state", "id"),)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    spool_name: Mapped[str] = mapped_column(String(128), unique=True)
    uid_digest: Mapped[str] = mapped_column(String(64), unique=True)
    content_digest: Mapped[str] = mapped_column(String(64))
    sop_class_uid: Mapped[str] = mapped_column(UID)
    transfer_syntax_uid: Mapped[str] = mapped_column(UID)
    size: Mapped[int] = mapped_column(BigInteger)
    source_ae: Mapped[str] = mapped_column(String(16))
    received_at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default=ReceivedState.PENDING)
    tries: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None] = mapped_column(String(128))
    claimed_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(64))
    instance_id: Mapped[int | None] = mapped_column(ForeignKey("instances.id", ondelete="CASCADE"), index=True)


class Quarantine(Base):
    """A sealed raw copy that was kept aside, and the name of the reason."""

    __tablename__ = "quarantine"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    spool_name: Mapped[str] = mapped_column(String(128), unique=True)
    reason: Mapped[str] = mapped_column(String(64), index=True)
    source_ae: Mapped[str] = mapped_column(String(16))
    size: Mapped[int] = mapped_column(BigInteger)
    quarantined_at: Mapped[datetime]
    received_id: Mapped[int | None] = mapped_column(ForeignKey("received.id", ondelete="CASCADE"), index=True)
    pseudonym: Mapped[str | None] = mapped_column(String(64), index=True)
    study_uid: Mapped[str | None] = mapped_column(UID, index=True)


class Forgotten(Base):
    """A pseudonym whose key was destroyed: what still arrives for it is refused."""

    __tablename__ = "forgotten"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    pseudonym: Mapped[str] = mapped_column(String(64), unique=True)
    forgotten_at: Mapped[datetime]


class CommitmentRequest(Base):
    """A storage commitment request that is to be answered: transaction and references, sealed."""

    __tablename__ = "commitments"

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    peer: Mapped[str] = mapped_column(String(16))
    request: Mapped[bytes] = mapped_column(LargeBinary)
    tries: Mapped[int]
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class Pull(Base):
    """A study that is to be had from a PACS.

    ``target`` is what the PACS calls it, sealed, and kept only as long as it is needed; ``study_digest`` is a keyed
    digest of the same, ``study_uid`` what the study is called here.
    """

    __tablename__ = "pulls"
    __table_args__ = (Index("ix_pulls_queue", "state", "next_try_at"),)

    id: Mapped[int] = mapped_column(Identity, primary_key=True)
    job: Mapped[str] = mapped_column(String(32), index=True)
    study_digest: Mapped[str] = mapped_column(String(64), unique=True)
    study_uid: Mapped[str] = mapped_column(UID, index=True)
    target: Mapped[bytes | None] = mapped_column(LargeBinary)
    source: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))
    tries: Mapped[int]
    expected: Mapped[int | None]
    here: Mapped[int]
    reason: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime]
    next_try_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
