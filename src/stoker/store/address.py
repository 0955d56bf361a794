"""Which store an address means.

sqlite:///path                                   one file, one daemon at a time
postgresql://user@host[,host…]/database?…        a server that many daemons share
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from stoker.model.clock import Clock
from stoker.model.errors import SettingsError
from stoker.settings import SQLITE
from stoker.store.base import Store
from stoker.store.sqlite import SqliteStore


def store_at(address: str, clock: Clock | None = None) -> Store:
    """The store at an address, not opened yet. Raises :class:`SettingsError` when its driver is not installed."""
    if address.startswith(SQLITE):
        return SqliteStore(Path(address.removeprefix(SQLITE)), clock)
    if importlib.util.find_spec("asyncpg") is None:
        raise SettingsError("store: PostgreSQL needs a driver: pip install 'stoker[postgres]'")
    # not at the top: its driver is an extra, and one that is not used would cost every start its import
    from stoker.store.postgres import PostgresStore

    return PostgresStore(address, clock)
