"""A connection to the file: opened with the durability we promise, and checked to be ours."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import apsw

from stoker.model.errors import StoreBusy, StoreError, StoreFull, StoreNotOurs, StoreReadOnly, StoreUnavailable
from stoker.store import statements

APPLICATION_ID = 0x53544B52
"""``STKR`` in the header of the file (PRAGMA application_id), so that a foreign database is never touched."""

BUSY_TIMEOUT_MS = 5000
SQL = statements.load("sqlite")

BAD_ROW = (apsw.ConstraintError, apsw.MismatchError, apsw.TooBigError, OverflowError, TypeError, ValueError)
"""What a statement raises for values that cannot be stored; it alone has had no effect, its transaction goes on."""

Value = str | int | float | bytes | None
Row = tuple[Value, ...]


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn the driver's errors into ours, each with one sentence that says what to do."""
    try:
        yield
    except apsw.BusyError:
        raise StoreBusy(
            f"{path} is locked by another program for more than {BUSY_TIMEOUT_MS // 1000} s; "
            "only the daemon should write to it"
        ) from None
    except apsw.FullError:
        raise StoreFull(f"the disk under {path} is full; free some space, then try again") from None
    except apsw.ReadOnlyError:
        raise StoreReadOnly(f"{path} or its folder cannot be written by this user") from None
    except apsw.NotADBError:
        raise StoreNotOurs(f"{path} is not a SQLite database; name another file with `store`") from None
    except apsw.CantOpenError:
        raise StoreUnavailable(f"cannot open {path}; is its folder there, and may this user write in it?") from None
    except apsw.CorruptError as error:
        raise StoreUnavailable(f"{path} is damaged ({error}); restore it from a copy") from None
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror}") from None
    except apsw.Error as error:
        raise StoreError(f"{path}: {type(error).__name__}: {error}") from None


class Connection:
    """One apsw connection that only works in the process that opened it.

    A connection carried over a fork would corrupt the database; used in a child it refuses (and is never closed
    there).
    """

    def __init__(self, path: Path, *, writing: bool) -> None:
        self.path = path
        self.pid = os.getpid()
        with translated(path):
            self._db = self._opened(writing)
            self._file = _identity(path)

    def _opened(self, writing: bool) -> apsw.Connection:
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if writing else 0)
        fresh = not self.path.exists()
        db = apsw.Connection(str(self.path), flags=flags, statementcachesize=200)
        if fresh and writing:
            self.path.chmod(0o600)
        db.set_busy_timeout(BUSY_TIMEOUT_MS)
        self._check_ours(db)
        if writing:
            mode = db.pragma("journal_mode", "wal")
            if mode != "wal":
                raise StoreUnavailable(f"{self.path}: cannot use write-ahead logging here (got {mode!r})")
            db.pragma("synchronous", 2)
            db.pragma("wal_autocheckpoint", 1000)
            db.pragma("journal_size_limit", 64 << 20)
        else:
            db.pragma("query_only", True)
        db.pragma("temp_store", 2)
        return db

    def _check_ours(self, db: apsw.Connection) -> None:
        mark = db.pragma("application_id")
        tables = next(db.execute("SELECT count(*) FROM sqlite_schema"))[0]
        if mark != APPLICATION_ID and tables:
            raise StoreNotOurs(f"{self.path} is a database of another program; name another file with `store`")

    def migrate(self) -> None:
        """Bring the tables to this version, all or nothing. Refuses a file from a newer version."""
        with translated(self.path), self.transaction():
            self._check_ours(self._db)
            version = self._db.pragma("user_version")
            steps = statements.migrations("sqlite")
            if version > len(steps):
                raise StoreNotOurs(
                    f"{self.path} was made by a newer Stoker (schema {version}, this one knows {len(steps)}); upgrade"
                )
            for number, script in steps[version:]:
                self._db.execute(script)
                self._db.pragma("user_version", number)
            self._db.pragma("application_id", APPLICATION_ID)

    def all(self, name: str, *values: Value) -> list[Row]:
        """Run a named statement; its rows."""
        return self.query(SQL[name], values)

    def each(self, name: str, values: Iterable[tuple[Value, ...]]) -> list[Row]:
        """Run a named statement with each of these; all rows that they return, in order."""
        self._check_process()
        return self._db.executemany(SQL[name], values, can_cache=True).fetchall()

    def query(self, sql: str, values: tuple[Value, ...]) -> list[Row]:
        self._check_process()
        return self._db.execute(sql, values, can_cache=True).fetchall()

    def one(self, name: str, *values: Value) -> Row | None:
        rows = self.all(name, *values)
        return rows[0] if rows else None

    def check_in_place(self) -> None:
        """Refuse to go on when the file was moved, deleted or replaced: what is written into a file without a name is
        acknowledged, and gone with the process."""
        try:
            there = _identity(self.path) == self._file
        except FileNotFoundError:
            there = False
        if not there:
            raise StoreUnavailable(
                f"{self.path} was moved, deleted or replaced while it was open; put it back, or restart the daemon"
            )

    def changes(self) -> int:
        return self._db.changes()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT, rolled back on any error, also one of the commit itself."""
        self._check_process()
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def total_changes(self) -> int:
        """Rows changed on this connection so far."""
        return self._db.total_changes()

    @contextlib.contextmanager
    def savepoint(self) -> Iterator[Callable[[], object]]:
        """A part of a transaction that can be taken back: call what this gives."""
        self._db.execute("SAVEPOINT part", can_cache=True)
        try:
            yield lambda: self._db.execute("ROLLBACK TO part")
        finally:
            if self._db.in_transaction:
                self._db.execute("RELEASE part", can_cache=True)

    def _check_process(self) -> None:
        if os.getpid() != self.pid:
            raise StoreError("a store connection was carried into another process; open a new one there")

    def close(self) -> None:
        if os.getpid() == self.pid:
            self._db.close()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino
