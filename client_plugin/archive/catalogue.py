"""The catalogue: what the node received, archived and set aside. See `received`,
`additions`, `studies`, `versions`, `counts`, `patients`, `pulls` and `commitments` for its parts."""

from __future__ import annotations

from sqlalchemy import text

from client_plugin.archive.additions import Additions
from client_plugin.archive.commitments import Commitments
from client_plugin.archive.counts import StudyCounts
from client_plugin.archive.patients import Patients
from client_plugin.archive.pulls import Pulls
from client_plugin.archive.received import ReceivedRows
from client_plugin.archive.studies import Studies
from client_plugin.archive.versions import Versions


class Catalogue(ReceivedRows, Additions, Studies, Versions, StudyCounts, Patients, Pulls, Commitments):
    """The catalogue of one node.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     catalogue = Catalogue.open(f"sqlite:///{folder}/catalogue.sqlite")
    ...     catalogue.counts()["instances"]
    0
    """

    def scrub(self) -> None:
        """Remove what deleted rows left behind in the database's files.

        SQLite overwrites them when they are deleted (``secure_delete``) and once its write-ahead log is emptied.
        PostgreSQL rewrites the table that holds the keys; its own write-ahead log, replicas and backups are beyond us:
        they expire by the hospital's rules.
        """
        statement = "PRAGMA wal_checkpoint(TRUNCATE)" if self.dialect == "sqlite" else "VACUUM (FULL) patients"
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(statement))
