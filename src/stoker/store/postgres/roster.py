"""The roster of nodes."""

from __future__ import annotations

from stoker.model.node import Beat, Node
from stoker.store.base import NODES_KEPT, Wake
from stoker.store.postgres import rows
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.session import Db


async def beat(db: Db, clock: ServerClock, beat: Beat, *, told: bool | None) -> tuple[bool, bool]:
    """Write a heartbeat; whether the node's name is cordoned, and whether it has the store to itself. ``told`` is what
    this session was told of that; None where a session cannot be told."""
    asked = clock.mono()
    row = await db.one(
        "beat", beat.boot, beat.name, beat.host, beat.pid, beat.version, list(beat.labels), beat.slots, beat.running,
        beat.seconds,
    )  # fmt: skip
    assert row is not None
    clock.heard(asked, row[0])
    alone = bool(row[2])
    if told is not None and alone != told:
        await db.all("alone", "yes" if alone else "no")
        if not alone:
            # whoever came since the last heartbeat heard nothing of what was done here
            for wake in Wake:
                await db.value("wake", wake)
    return bool(row[1]), alone


async def leave(db: Db, boot: str) -> None:
    await db.all("leave", boot)


async def nodes(db: Db) -> list[Node]:
    return [rows.node(row) for row in await db.all("nodes", NODES_KEPT)]


async def cordon(db: Db, name: str) -> None:
    await db.all("cordon", name)


async def uncordon(db: Db, name: str) -> bool:
    return bool(await db.all("uncordon", name))


async def cordons(db: Db) -> frozenset[str]:
    return frozenset(row[0] for row in await db.all("cordons"))
