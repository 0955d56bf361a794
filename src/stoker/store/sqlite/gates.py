"""Concurrency keys: at most so many jobs of one key are ready or running, the others wait.

Nothing is counted up and down: how many take up a key is read from the jobs themselves, so no crash can leave the count
wrong. A job that ends, or goes back to wait for its time, lets the next one in within the same transaction.
"""

from __future__ import annotations

from typing import cast

from stoker.model.job import Waits
from stoker.store.sqlite.connection import Connection


def waits_for(db: Connection, gate: str | None, limit: int) -> Waits:
    """What a due job waits for: a slot, or first for its key."""
    if gate is None:
        return Waits.SLOT
    row = db.one("gate_used", gate)
    used = cast(int, row[0]) if row else 0
    return Waits.SLOT if used < limit else Waits.KEY


def release(db: Connection, gate: str | None, now: float) -> None:
    """Somebody left: let in as many as now fit."""
    if gate is None:
        return
    while True:
        row = db.one("gate_limit_next", gate)
        if row is None or waits_for(db, gate, cast(int, row[0])) is Waits.KEY:
            return
        db.all("gate_next", gate, now)
