"""What a site keeps between two reports, in one SQLite database beside its pages: which pages there
are and what they show (`folder`), and what the ledger said of builds (`builds`).

Each change of it is one transaction, so a killed report leaves what the last transaction said. Only
one process opens it at a time; the lock of the site sees to that.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

VERSION = 2
"""Of the tables. Those of another version are not read: everything is read and made again."""

_TABLES = """
CREATE TABLE noted (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;

-- Pages that are made together, by the digest of what they show, empty if they have to be made.
-- Each report puts all groups but those that are marked: these are made where they are marked so.
CREATE TABLE groups (
  name TEXT PRIMARY KEY, digest TEXT NOT NULL, pages TEXT NOT NULL DEFAULT '[]',
  marked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX groups_to_do ON groups (digest, name) WHERE digest IN ('', 'gone');
CREATE INDEX groups_not_marked ON groups (name) WHERE marked = 0;

-- Builds of the ledger. The column data has all that tables of pages show of one, as JSON.
CREATE TABLE builds (
  id TEXT PRIMARY KEY, page TEXT NOT NULL, submitted REAL NOT NULL, ended REAL NOT NULL,
  state TEXT NOT NULL, queue TEXT NOT NULL, cause TEXT NOT NULL, batch TEXT NOT NULL,
  data BLOB NOT NULL);
CREATE INDEX builds_by_page ON builds (page);
CREATE INDEX builds_by_time ON builds (submitted, id);
CREATE INDEX builds_by_state ON builds (state, ended, id);
CREATE INDEX builds_by_queue ON builds (queue, state);
CREATE INDEX builds_by_batch ON builds (batch, submitted) WHERE batch != '';
CREATE INDEX builds_by_cause ON builds (cause, submitted, id) WHERE cause != '';

-- Which stages each build makes, and the contract of each then.
CREATE TABLE made (
  stage TEXT NOT NULL, submitted REAL NOT NULL, build TEXT NOT NULL, max_age_s REAL NOT NULL,
  PRIMARY KEY (stage, submitted, build)) WITHOUT ROWID;
CREATE INDEX made_by_build ON made (build);

-- Stages that builds make: the digest of the newest builds of each, and the newest one.
CREATE TABLE stages (
  name TEXT PRIMARY KEY, max_age_s REAL NOT NULL, history TEXT NOT NULL, last BLOB NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Database:
    connection: sqlite3.Connection

    def rows(self, query: str, *values: Any) -> list[Any]:
        return self.connection.execute(query, values).fetchall()

    def do(self, command: str, *values: Any) -> None:
        self.connection.execute(command, values)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """All that is done inside is one transaction."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def noted(self, name: str) -> str:
        """What was noted under that name, empty if nothing was."""
        found = self.rows("SELECT value FROM noted WHERE name = ?", name)
        return str(found[0][0]) if found else ""

    def note(self, name: str, value: str) -> None:
        self.do("INSERT OR REPLACE INTO noted VALUES (?, ?)", name, value)


@contextmanager
def opened(file: Path) -> Iterator[Database]:
    """The database in `file`, which is made if there is none; raises `sqlite3.Error`."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = TRUNCATE")
        database = Database(connection)
        ((version,),) = database.rows("PRAGMA user_version")
        if version != VERSION:
            with database.changing():
                _make(database)
        yield database


def _make(database: Database) -> None:
    for (table,) in database.rows("SELECT name FROM sqlite_master WHERE type = 'table'"):
        database.do(f'DROP TABLE "{table}"')
    for statement in _TABLES.split(";"):
        database.do(statement)
    database.do(f"PRAGMA user_version = {VERSION}")
