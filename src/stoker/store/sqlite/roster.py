"""The roster of nodes."""

from __future__ import annotations

from typing import Any, cast

from stoker.model.node import Beat, Node
from stoker.store import columns
from stoker.store.base import NODES_KEPT
from stoker.store.sqlite.connection import Connection


def beat(db: Connection, beat: Beat, now: float) -> bool:
    """Write a heartbeat; whether the node's name is cordoned."""
    db.all(
        "beat", beat.boot, beat.name, beat.host, beat.pid, beat.version, columns.pack(beat.labels), beat.slots,
        beat.running, now, beat.seconds,
    )  # fmt: skip
    db.all("forget_nodes", now - NODES_KEPT)
    return db.one("is_cordoned", beat.name) is not None


def nodes(db: Connection, now: float) -> list[Node]:
    return [_node(cast("tuple[Any, ...]", row)) for row in db.all("nodes", now, now - NODES_KEPT)]


def cordon(db: Connection, name: str, now: float) -> None:
    db.all("cordon", name, now)


def uncordon(db: Connection, name: str) -> bool:
    db.all("uncordon", name)
    return db.changes() > 0


def cordons(db: Connection) -> frozenset[str]:
    return frozenset(str(row[0]) for row in db.all("cordons"))


def _node(row: tuple[Any, ...]) -> Node:
    boot, name, host, pid, version, labels, slots, running, started, heartbeat, alive, cordoned = row
    return Node(
        boot=boot,
        name=name,
        host=host,
        pid=pid,
        version=version,
        labels=columns.tags(labels),
        slots=slots,
        running=running,
        started=started,
        heartbeat=heartbeat,
        alive=bool(alive),
        cordoned=bool(cordoned),
    )
