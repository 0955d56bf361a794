"""What is done with a store from outside, without a daemon: look at it, and bring it to this version."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import asyncpg

from stoker.model.clock import SystemClock
from stoker.model.quantities import show_size
from stoker.store import statements
from stoker.store.base import Look
from stoker.store.postgres import migrating
from stoker.store.postgres.errors import translated
from stoker.store.postgres.session import Db, Session
from stoker.store.postgres.url import Address, parse


@contextlib.asynccontextmanager
async def _visit(url: str) -> AsyncIterator[tuple[Db, Address]]:
    address = parse(url)
    session = Session(address, "look", SystemClock(), aloud=False)
    try:
        yield await session.db(patience=0.0), address
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
        raise translated(error, address) from None
    finally:
        await session.close()


async def look(url: str) -> Look | None:
    """What is there; None when nothing is, and it could be made. Raises StoreError when it cannot be used."""
    async with _visit(url) as (db, address):
        newest = len(statements.migrations("postgres"))
        missing = await migrating.pending(db, address)
        if len(missing) == newest:
            return None
        ((size, version),) = await db.all("size", address.quoted)
        return Look(newest - len(missing), newest, f"{address.text}, {show_size(size)}, PostgreSQL {version}")


async def plan(url: str) -> list[str]:
    """The steps that :func:`migrate` would take, in order; nothing is changed. Raises StoreError."""
    async with _visit(url) as (db, address):
        steps = await migrating.pending(db, address)
        made = [] if not steps or await migrating.has_schema(db, address) else [f"create the schema {address.schema}"]
        return made + [f"{number:04d}: {statements.purpose(script)}" for number, script in steps]


async def migrate(url: str) -> int:
    """Bring the tables to this version; theirs, which a newer Stoker may have made higher. Raises StoreError."""
    async with _visit(url) as (db, address):
        await migrating.migrate(db, address)
        version, _ = tuple(await db.one("schema_version") or (0, 0))
        return int(version)
