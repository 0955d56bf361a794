"""Jobs on their way to another store, and from one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from stoker.model.job import Job
from stoker.store import columns
from stoker.store.base import Kept
from stoker.store.sqlite import rows
from stoker.store.sqlite.connection import Connection

ALL = 1 << 60


def dump(db: Connection, after: int, limit: int) -> list[Kept]:
    return [_kept(db, cast("tuple[Any, ...]", row)) for row in db.all("dump", after, limit)]


def _kept(db: Connection, row: tuple[Any, ...]) -> Kept:
    job = rows.job(row[:-4])
    round, limit, holds, until = row[-4:]
    events = [rows.event(job.id, one) for one in db.all("events", job.seq, 0, ALL)]
    return Kept(
        job=job, round=round, key_limit=limit, holds_unique=bool(holds), unique_until=until, events=events
    )  # fmt: skip


def restore(db: Connection, jobs: Sequence[Kept]) -> int:
    """Store them in their order; how many were not there yet."""
    return sum(_restore(db, kept) for kept in jobs)


def _restore(db: Connection, kept: Kept) -> bool:
    row = db.one("restore_job", *_values(kept.job), kept.round, kept.key_limit)
    if row is None:
        return False
    for event in kept.events:
        db.all("insert_event", row[0], event.attempt, event.at, event.kind, bytes(event.data))
    if kept.holds_unique:
        db.all("take_unique", kept.job.unique, kept.job.id, kept.unique_until)
    return True


def _values(job: Job) -> tuple[Any, ...]:
    return (
        job.id, job.command, job.state, job.waits, job.priority, job.created, job.updated, job.run_at, job.expires,
        job.started, job.finished, job.attempt, job.fence, job.owner, job.user,
        columns.pack_some(job.tags), job.key, job.unique,
        columns.pack_some(job.progress),
        columns.pack_some(job.fault), job.cancel,
        columns.pack_some(job.overrides), job.input, job.output,
    )  # fmt: skip
