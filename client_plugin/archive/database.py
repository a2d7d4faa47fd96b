"""The catalogue's database: SQLite by default, PostgreSQL by URL; opened by any number of processes at once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from client_plugin.archive.models import Base
from client_plugin.archive.turns import Turns

HEAD = "0004"  # the newest migration; a test compares it with the scripts
MIGRATIONS = Path(__file__).parent / "migrations"
_LOCK = 0x66656470616373  # "fedpacs": the PostgreSQL advisory lock that migrations are run under
# ms a writer of SQLite waits for another; with the wait for its turn still less than a peer waits for an answer
_BUSY_TIMEOUT = 18_000
# PostgreSQL: how long a server that does not answer any more is waited for (libpq; ms for tcp_user_timeout, else s)
_PATIENCE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 20_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}


class CatalogueUnusable(RuntimeError):  # noqa: N818 - it is the state of the catalogue that is named
    """The catalogue's database cannot be used; the message says why and the cure."""


class Database:
    """An open database. Share it between threads, never across a fork."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(fedpacs_write=True)
        snapshot = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
        self._reader = engine.execution_options(**snapshot)  # in SQLite every transaction sees one snapshot
        self._turns = Turns(Path(f"{engine.url.database}-turns")) if engine.dialect.name == "sqlite" else None

    @classmethod
    def open(cls, url: str) -> Self:
        """Open the database at an SQLAlchemy ``url``, creating or migrating its tables if need be."""
        database = cls(_engine(url))
        database.migrate()
        return database

    @property
    def dialect(self) -> str:
        """``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    def close(self) -> None:
        self._engine.dispose()
        if self._turns is not None:
            self._turns.close()
            self._turns = None

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session on one consistent view of the database."""
        with Session(self._reader) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction; what it wrote survives a power cut once the block is left."""
        with self._turn(), Session(self._writer) as session, session.begin():
            yield session

    @contextmanager
    def _writing_below_orm(self) -> Iterator[Connection]:
        """The same without a session, for a transaction that has to be quick."""
        with self._turn(), self._writer.begin() as connection:
            yield connection

    def _turn(self) -> AbstractContextManager[None]:
        return nullcontext() if self._turns is None else self._turns.take()

    def insert_new(self, model: type[Base]) -> Any:
        """``INSERT … ON CONFLICT DO NOTHING``: rows that exist are left as they are, whoever made them."""
        dialect = postgresql if self.dialect == "postgresql" else sqlite
        return dialect.insert(model).on_conflict_do_nothing()

    def migrate(self) -> None:
        """Bring the tables to `HEAD`. One process does it, others wait for it."""
        with self._reader.begin() as connection:
            if _revision(connection) == HEAD:
                return
        with self._writer.begin() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            found = _revision(connection)
            if found == HEAD:
                return
            if found is not None and found > HEAD:
                raise CatalogueUnusable(
                    f"the catalogue is of a newer fedpacs (revision {found}, this one knows {HEAD}): upgrade fedpacs"
                )
            _upgrade(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def _upgrade(connection: Connection, to: str = HEAD) -> None:
    from alembic import command  # not needed by the many processes that find the catalogue up to date
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _engine(url: str) -> Engine:
    parsed = make_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() == "postgresql":
        patience = {name: value for name, value in _PATIENCE.items() if name not in parsed.query}
        return create_engine(parsed, pool_pre_ping=True, connect_args=patience)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        raise CatalogueUnusable("archive.catalogue_url: use sqlite:////path/to/file or postgresql://user@host/name")
    Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(parsed)
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions of its own
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT}")
    _write_ahead(cursor)
    for pragma in (
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",  # a forgotten patient's key is overwritten, not only unlinked
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: Any) -> None:
    """Of processes that open a new file at once one changes its mode; SQLite lets the others not wait: it is locked."""
    deadline = time.monotonic() + _BUSY_TIMEOUT / 1000
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that will write takes the write lock at once: upgrading from a read could only fail.
    writes = connection.get_execution_options().get("fedpacs_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
