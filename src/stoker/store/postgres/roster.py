"""The roster of nodes."""

from __future__ import annotations

from stoker.model.node import Beat, Node
from stoker.store.base import NODES_KEPT
from stoker.store.postgres import rows
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.session import Db


async def beat(db: Db, clock: ServerClock, beat: Beat) -> bool:
    """Write a heartbeat; whether the node's name is cordoned."""
    asked = clock.mono()
    row = await db.one(
        "beat", beat.boot, beat.name, beat.host, beat.pid, beat.version, list(beat.labels), beat.slots, beat.running,
        beat.seconds,
    )  # fmt: skip
    assert row is not None
    clock.heard(asked, row[0])
    return bool(row[1])


async def leave(db: Db, boot: str) -> None:
    await db.all("leave", boot)


async def nodes(db: Db) -> list[Node]:
    return [rows.node(row) for row in await db.all("nodes", NODES_KEPT)]


async def cordon(db: Db, name: str) -> None:
    await db.all("cordon", name)


async def uncordon(db: Db, name: str) -> bool:
    return bool(await db.all("uncordon", name))
