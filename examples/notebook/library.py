"""The notebook's memory: one SQLite file.

Several jobs use it at one time, each in its own process with a connection of its own. Writes are short transactions
that take their turn; nobody holds a read open while working.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

_SCHEMA = Path(__file__).with_name("schema.sql").read_text("utf-8")
_PAGE = 4096
"""Rows read at a time."""


class Shelved(NamedTuple):
    """A source, and how much of it there is."""

    id: str
    title: str
    path: str
    state: str
    error: str | None
    characters: int
    passages: int
    embedded: int


class Passage(NamedTuple):
    position: int
    text: str


class Marked(NamedTuple):
    """Where a vector belongs."""

    source: str
    position: int
    vector: bytes


def home() -> Path:
    """The folder that everything is kept in: ``NOTEBOOK_HOME``, or one below the current folder."""
    return Path(os.environ.get("NOTEBOOK_HOME") or ".stoker/notebook").absolute()


@contextlib.contextmanager
def opened(folder: Path | None = None) -> Iterator[Library]:
    """The library, with a fresh connection that is closed at the end. A connection never survives a fork."""
    folder = folder or home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = folder / "notebook.db"
    os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))  # it has people's keys in it
    with contextlib.closing(sqlite3.connect(file, timeout=30.0, isolation_level=None)) as connection:
        # A rollback journal and not a write-ahead log: the SQLite that comes with Python may be older than 3.51.3, and
        # the log of those can damage the file when several processes write.
        connection.execute("pragma journal_mode = truncate")
        connection.execute("pragma foreign_keys = on")
        connection.executescript(_SCHEMA)
        yield Library(connection, folder)


class Library:
    """Every read and write of the notebook."""

    def __init__(self, connection: sqlite3.Connection, folder: Path) -> None:
        self._db = connection
        self.folder = folder

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("begin immediate")
        try:
            yield
        except BaseException:
            self._db.execute("rollback")
            raise
        self._db.execute("commit")

    def begin(self, source: str, title: str, path: str) -> None:
        """Note that a source is being read; what there is of it from an earlier attempt stays."""
        self._db.execute(
            "insert into sources (id, title, path, state, added) values (?, ?, ?, 'reading', ?) on conflict (id)"
            " do update set title = excluded.title, path = excluded.path, state = 'reading', error = null",
            (source, title, path, time.time()),
        )

    def add(self, source: str, first: int, passages: Sequence[str]) -> None:
        """Keep passages in their places, all or none. Safe to repeat: the same source has the same passages."""
        rows = ((source, position, text) for position, text in enumerate(passages, start=first))
        with self._transaction():
            self._db.executemany("insert or ignore into passages (source, position, text) values (?, ?, ?)", rows)

    def finish(self, source: str, characters: int) -> None:
        """The source is complete; what was there before under the same path, read or failed, is forgotten."""
        with self._transaction():
            self._db.execute(
                "update sources set state = 'indexed', error = null, characters = ? where id = ?", (characters, source)
            )
            self._db.execute(
                "delete from sources where exists (select 1 from sources new where new.id = ? and new.path <> ''"
                " and new.path = sources.path and new.added > sources.added)",
                (source,),
            )

    def fail(self, source: str, title: str, path: str, reason: str) -> None:
        """Note why a source could not be read, and keep nothing else of it."""
        with self._transaction():
            self._db.execute("delete from passages where source = ?", (source,))
            self._db.execute("delete from vectors where source = ?", (source,))
            self._db.execute(
                "insert into sources (id, title, path, state, error, added) values (?, ?, ?, 'failed', ?, ?)"
                " on conflict (id) do update set state = 'failed', error = excluded.error",
                (source, title, path, reason, time.time()),
            )

    def sources(self, source: str | None = None) -> list[Shelved]:
        """All sources, oldest first; or the one named, if it is there."""
        rows = self._db.execute(
            "select id, title, path, state, error, characters,"
            " (select count(*) from passages where source = s.id), (select count(*) from vectors where source = s.id)"
            " from sources s where ? is null or s.id = ? order by added, id",
            (source, source),
        )
        return [Shelved(*row) for row in rows]

    def bare(self, source: str, after: int, limit: int, before: float = 0.0) -> list[Passage]:
        """The next passages past a position without a vector, or with one made before a moment."""
        rows = self._db.execute(
            "select p.position, p.text from passages p left join vectors v using (source, position)"
            " where p.source = ? and p.position > ? and (v.made is null or v.made < ?) order by p.position limit ?",
            (source, after, before, limit),
        )
        return [Passage(*row) for row in rows]

    def count_bare(self, source: str, before: float = 0.0) -> int:
        row = self._db.execute(
            "select count(*) from passages p left join vectors v using (source, position)"
            " where p.source = ? and (v.made is null or v.made < ?)",
            (source, before),
        ).fetchone()
        return int(row[0])

    def keep(self, vectors: Iterable[Marked], model: str) -> None:
        """Keep vectors in the place of those that were there, all or none."""
        made = time.time()
        with self._transaction():
            self._db.executemany(
                "insert or replace into vectors (source, position, vector, model, made) values (?, ?, ?, ?, ?)",
                ((*marked, model, made) for marked in vectors),
            )

    def vectors(self) -> Iterator[list[Marked]]:
        """Every vector of the sources that are complete, a page at a time."""
        last = 0
        while rows := self._db.execute(
            "select v.id, v.source, v.position, v.vector from vectors v join sources s on s.id = v.source"
            " where s.state = 'indexed' and v.id > ? order by v.id limit ?",
            (last, _PAGE),
        ).fetchall():
            last = rows[-1][0]
            yield [Marked(*row[1:]) for row in rows]

    def texts(self) -> Iterator[list[str]]:
        """Every passage, a page at a time."""
        source, position = "", -1
        while rows := self._db.execute(
            "select source, position, text from passages where (source, position) > (?, ?)"
            " order by source, position limit ?",
            (source, position, _PAGE),
        ).fetchall():
            source, position, _ = rows[-1]
            yield [row[2] for row in rows]

    def passage(self, source: str, position: int) -> tuple[str, str]:
        """A passage's title and text; KeyError if it is there no more."""
        row = self._db.execute(
            "select s.title, p.text from passages p join sources s on s.id = p.source"
            " where p.source = ? and p.position = ?",
            (source, position),
        ).fetchone()
        if row is None:
            raise KeyError(source, position)
        return str(row[0]), str(row[1])

    def episode(
        self, id: str, topic: str, state: str, script: Path, audio: Path | None = None, error: str | None = None
    ) -> None:
        """Keep an episode as it now stands."""
        self._db.execute(
            "insert or replace into episodes (id, topic, state, error, script, audio) values (?, ?, ?, ?, ?, ?)",
            (id, topic, state, error, str(script), str(audio) if audio else None),
        )

    def keep_key(self, user: str, provider: str, key: str) -> None:
        self._db.execute("insert or replace into keys (user, provider, key) values (?, ?, ?)", (user, provider, key))

    def keys(self, user: str) -> dict[str, str]:
        """A user's keys by provider; nobody else's."""
        return dict(self._db.execute("select provider, key from keys where user = ?", (user,)).fetchall())
