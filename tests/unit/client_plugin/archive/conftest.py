"""Catalogues on both databases, and archives with instances in them."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from client_plugin.archive.catalogue import Catalogue

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class PostgreSQL:
    """A throwaway cluster of the real server, on a free port of the loopback interface."""

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._numbers = count()
        candidates = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        self._bin = candidates[-1] if candidates else Path(shutil.which("pg_ctl") or "pg_ctl").parent
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        # The server refuses to run as root; Debian's package made it an account.
        self._as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as_user:
            shutil.chown(folder, "postgres")
        self._run("initdb", "-D", self._data, "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-p {self.port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"  # it is thrown away
        self._run("pg_ctl", "-D", self._data, "-l", folder / "log", "-o", options, "-w", "start")

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as_user, str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, f"{program}: {done.stderr or done.stdout}"

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh, empty database."""
        name = f"catalogue_{next(self._numbers)}"
        with psycopg.connect(host="127.0.0.1", port=self.port, user="postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            yield f"postgresql://postgres@127.0.0.1:{self.port}/{name}"
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    with TemporaryDirectory(prefix="postgresql-") as folder:  # pytest's own folders let no other account in
        server = PostgreSQL(Path(folder))
        yield server
        server.stop()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of each kind: every test that asks for one runs on both."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/catalogue.sqlite"
    else:
        server: PostgreSQL = request.getfixturevalue("postgresql")
        with server.database() as database:
            yield database


@pytest.fixture
def catalogue(url: str) -> Iterator[Catalogue]:
    opened = Catalogue.open(url)
    yield opened
    opened.close()
