"""Bringing the tables to this version: numbered, forward only, one daemon at a time.

A database from a newer version is used as long as that version allows it: most migrations only add, and the daemons of
a fleet are not replaced in one moment. A migration that older code must not work with says so in its file, with the
line ``-- oldest code: N``: the number of a migration that code must at least know.
"""

from __future__ import annotations

import re
from typing import Any

import asyncpg

from stoker.model.errors import StoreNotOurs, StoreUnavailable
from stoker.store.postgres.session import Db
from stoker.store.postgres.statements import migrations
from stoker.store.postgres.url import Address

_OLDEST = re.compile(r"^-- oldest code: (\d+)$", re.MULTILINE)


async def migrate(db: Db, address: Address) -> None:
    """Bring the tables to this version, all or nothing. Raises :class:`StoreNotOurs` for a schema of something else and
    for one that is too new."""
    if not await pending(db, address):
        return
    try:
        async with db.transaction():
            # under the lock, whatever the others have done is there to see
            await db.raw.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = '30s'")
            await db.all("schema_lock")
            steps = await pending(db, address)
            if steps:
                await _make_schema(db, address)
            for number, script in steps:
                await db.raw.execute(script)
                oldest = _OLDEST.search(script)
                await db.all("add_version", number, int(oldest[1]) if oldest else 0)
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreUnavailable(
            f"{address.text}: this user may not make the tables ({error}); let an owner of the database run: "
            f"CREATE SCHEMA {address.quoted} AUTHORIZATION <this user>"
        ) from None


async def _state(db: Db, address: Address) -> tuple[Any, ...]:
    (row,) = await db.all("schema_state", address.quoted, f"{address.quoted}.schema_version")
    return tuple(row)


async def pending(db: Db, address: Address) -> list[tuple[int, str]]:
    """The migrations that are not there yet."""
    steps = migrations(address.schema)
    try:
        _, versioned, occupied, _ = await _state(db, address)
        if not versioned and occupied:
            raise StoreNotOurs(
                f"{address.text}: the schema {address.schema} has tables of another program; "
                "name another schema with ?schema=…"
            )
        version, oldest = tuple(await db.one("schema_version") or (0, 0)) if versioned else (0, 0)
    except asyncpg.InsufficientPrivilegeError:
        raise StoreUnavailable(
            f"{address.text}: this user may not use the tables of the schema {address.schema}; connect as their owner"
        ) from None
    if len(steps) < oldest:
        raise StoreNotOurs(
            f"{address.text} was made by a newer Stoker (schema {version}, which needs code that knows {oldest}; "
            f"this one knows {len(steps)}); upgrade"
        )
    return steps[version:]


async def has_schema(db: Db, address: Address) -> bool:
    return bool((await _state(db, address))[0])


async def _make_schema(db: Db, address: Address) -> None:
    # asked first: who may not create schemas can still fill one that was made for it
    if not await has_schema(db, address):
        await db.raw.execute(f"CREATE SCHEMA {address.quoted}")
    await db.raw.execute(db.sql["make_versions"])
