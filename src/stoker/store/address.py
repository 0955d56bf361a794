"""Which store an address means, and what is done with one from outside.

sqlite:///path                                   one file, one daemon at a time
postgresql://user@host[,host…]/database?…        a server that many daemons share
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from stoker.model.clock import Clock
from stoker.model.errors import SettingsError
from stoker.settings import SQLITE
from stoker.store.base import Look, Store
from stoker.store.sqlite import SqliteStore, tending


def store_at(address: str, clock: Clock | None = None) -> Store:
    """The store at an address, not opened yet. Raises :class:`SettingsError` when its driver is not installed."""
    path = _file(address)
    if path is not None:
        return SqliteStore(path, clock)
    _need_driver()
    from stoker.store.postgres import PostgresStore

    return PostgresStore(address, clock)


async def look(address: str) -> Look | None:
    """What is there; None when nothing is, and it could be made. Raises StoreError when it cannot be used."""
    path = _file(address)
    if path is not None:
        return tending.look(path)
    _need_driver()
    from stoker.store.postgres import tending as server

    return await server.look(address)


async def plan(address: str) -> list[str]:
    """The steps that :func:`migrate` would take; nothing is changed. Raises StoreError."""
    path = _file(address)
    if path is not None:
        return tending.plan(path)
    _need_driver()
    from stoker.store.postgres import tending as server

    return await server.plan(address)


async def migrate(address: str) -> int:
    """Bring the tables to this version, which is returned. Raises StoreError."""
    path = _file(address)
    if path is not None:
        return tending.migrate(path)
    _need_driver()
    from stoker.store.postgres import tending as server

    return await server.migrate(address)


def _file(address: str) -> Path | None:
    return Path(address.removeprefix(SQLITE)) if address.startswith(SQLITE) else None


def _need_driver() -> None:
    """The server's driver is an extra, and one that is not used would cost every start its import: so it is imported
    where it is needed, after this."""
    if importlib.util.find_spec("asyncpg") is None:
        raise SettingsError("store: PostgreSQL needs a driver: pip install 'stoker[postgres]'")
