import sqlite3
from multiprocessing import get_context
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from client_plugin.archive.catalogue import Catalogue
from client_plugin.archive.database import HEAD, MIGRATIONS, CatalogueUnusable, _engine, _upgrade
from client_plugin.archive.models import Base


def test_migrations_make_exactly_the_tables_of_the_models(catalogue: Catalogue) -> None:
    with catalogue._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_an_older_catalogue_is_migrated_and_keeps_what_it_holds(url: str) -> None:
    older = Catalogue(_engine(url))
    with older._writer.begin() as connection:
        _upgrade(connection, "0001")
        connection.execute(
            text("INSERT INTO patients (pseudonym, wrapped_key, created_at) VALUES ('P1', :key, :now)"),
            {"key": b"wrapped", "now": "2026-01-01 00:00:00"},
        )
    older.close()
    catalogue = Catalogue.open(url)
    assert catalogue.patient_key("P1") == b"wrapped"
    assert catalogue.pulls() == []
    with catalogue._engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def _open(url: str) -> int:
    return Catalogue.open(url).counts()["instances"]


def test_processes_that_open_a_new_catalogue_at_once_all_succeed(url: str) -> None:
    with get_context("spawn").Pool(3) as pool:
        assert pool.map(_open, [url] * 6, chunksize=1) == [0] * 6


def test_a_catalogue_of_a_newer_version_is_left_alone(catalogue: Catalogue, url: str) -> None:
    with catalogue.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(CatalogueUnusable, match="upgrade fedpacs"):
        Catalogue.open(url)


def test_sqlite_is_opened_for_durability_and_for_many_processes(tmp_path: Path) -> None:
    catalogue = Catalogue.open(f"sqlite:///{tmp_path}/deep/below/catalogue.sqlite")
    with catalogue.reading() as session:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "secure_delete")
        found = [session.execute(text(f"PRAGMA {name}")).scalar_one() for name in pragmas]
    assert found == ["wal", 2, 1, 18_000, 1]


def test_a_writer_does_not_keep_readers_waiting(tmp_path: Path) -> None:
    catalogue = Catalogue.open(f"sqlite:///{tmp_path}/catalogue.sqlite")
    with catalogue.writing() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert catalogue.counts()["studies"] == 0
        other = sqlite3.connect(tmp_path / "catalogue.sqlite", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):  # the lock was taken at the start
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_transaction_that_fails_leaves_nothing(catalogue: Catalogue) -> None:
    with pytest.raises(RuntimeError), catalogue.writing() as session:  # noqa: PT012
        session.execute(text("DELETE FROM alembic_version"))
        raise RuntimeError
    with catalogue.reading() as session:
        assert session.execute(text("SELECT version_num FROM alembic_version")).scalar_one() == HEAD


@pytest.mark.parametrize("url", ["sqlite://", "mysql://root@localhost/fedpacs"], ids=["memory", "mysql"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(CatalogueUnusable, match="catalogue_url"):
        Catalogue.open(url)
