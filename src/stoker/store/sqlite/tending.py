"""What is done with a file from outside, without a daemon: look at it, and bring it to this version."""

from __future__ import annotations

import os
from pathlib import Path

import apsw

from stoker.model.errors import StoreReadOnly
from stoker.model.quantities import show_size
from stoker.store import statements
from stoker.store.base import Look
from stoker.store.sqlite.connection import Connection, translated


def look(path: Path) -> Look | None:
    """What is there; None when nothing is, and it could be made. Raises StoreError for a file that cannot be used."""
    if not path.exists():
        above = next(folder for folder in path.parents if folder.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise StoreReadOnly(f"{path} cannot be made: {above} is not ours to write in")
        return None
    connection = Connection(path, writing=False)
    try:
        (row,) = connection.query("PRAGMA user_version", ())
    finally:
        connection.close()
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        raise StoreReadOnly(f"{path} or its folder cannot be written by this user")
    about = f"{path}, {show_size(path.stat().st_size)}, SQLite {apsw.sqlite_lib_version()}"
    return Look(int(str(row[0])), len(statements.migrations("sqlite")), about)


def has_jobs(path: Path) -> bool:
    """Whether a job is kept there. Raises StoreError."""
    connection = Connection(path, writing=False)
    try:
        with translated(path):
            return connection.all("has_jobs") == [(1,)]
    finally:
        connection.close()


def plan(path: Path) -> list[str]:
    """The steps that :func:`migrate` would take. Raises StoreError."""
    found = look(path)
    version = 0 if found is None else found.version
    return [f"{number:04d}: {statements.purpose(script)}" for number, script in statements.migrations("sqlite")][
        version:
    ]


def migrate(path: Path) -> int:
    """Bring the tables to this version, which is returned; makes the file if there is none. Raises StoreError."""
    connection = Connection(path, writing=True)
    try:
        connection.migrate()
    finally:
        connection.close()
    return len(statements.migrations("sqlite"))
