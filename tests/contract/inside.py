"""For the tests of the SQLite driver itself: a look at its writing connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stoker.store.sqlite import SqliteStore
from stoker.store.sqlite.connection import Connection


async def on_writer(store: SqliteStore, action: Callable[[Connection], Any]) -> Any:
    """Do something on the writing connection itself, in a group of its own or with others."""
    return await store._writer.do(action)


async def pragma(store: SqliteStore, name: str, *value: Any) -> Any:
    return await on_writer(store, lambda db: db._db.pragma(name, *value))
