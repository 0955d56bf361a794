"""Jobs on their way to another store, and from one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.model.event import Event
from stoker.model.job import Job
from stoker.store import columns
from stoker.store.base import Kept
from stoker.store.postgres import rows
from stoker.store.postgres.session import Db


async def dump(db: Db, after: int, limit: int) -> list[Kept]:
    found = await db.all("dump", after, limit)
    events: dict[int, list[Event]] = {row["seq"]: [] for row in found}
    ids = {row["seq"]: row["id"] for row in found}
    for row in await db.all("dump_events", list(ids)):
        events[row["job"]].append(rows.event(ids[row["job"]], tuple(row)[1:]))
    return [
        Kept(
            job=rows.job(row),
            round=row["round"],
            key_limit=row["gate_limit"],
            holds_unique=row["holds"],
            unique_until=row["until"],
            events=events[row["seq"]],
        )
        for row in found
    ]


async def restore(db: Db, jobs: Sequence[Kept]) -> int:
    """Store them in their order, all or nothing; how many were not there yet."""
    async with db.together():
        new = 0
        for kept in jobs:
            new += await _restore(db, kept)
        return new


async def _restore(db: Db, kept: Kept) -> bool:
    seq = await db.value("restore_job", *_values(kept.job), kept.round, kept.key_limit)
    if seq is None:
        return False
    said = kept.events
    if said:
        await db.all(
            "restore_events",
            seq,
            kept.job.created,
            [event.attempt for event in said],
            [event.at for event in said],
            [event.kind for event in said],
            [bytes(event.data) for event in said],
        )
    if kept.holds_unique:
        await db.all("take_unique", kept.job.unique, kept.job.id, kept.unique_until)
    return True


def _values(job: Job) -> tuple[Any, ...]:
    return (
        job.id, job.command, job.state, job.waits, job.priority, job.created, job.updated, job.run_at, job.expires,
        job.started, job.finished, job.attempt, job.fence, job.owner, job.user, list(job.tags) or None, job.key,
        job.unique,
        columns.pack_some(job.progress),
        columns.pack_some(job.fault), job.cancel,
        columns.pack_some(job.overrides), job.input, job.output,
    )  # fmt: skip
