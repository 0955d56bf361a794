"""What happens to jobs without anybody running them: they fall due, expire, are cancelled, retried, and forgotten."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from stoker.model.errors import DuplicateJob, WrongState
from stoker.model.job import Job, Waits
from stoker.model.outcome import Fault
from stoker.model.product import unknown
from stoker.store.columns import pack
from stoker.store.sqlite import gates, reading
from stoker.store.sqlite.connection import Connection, Row


def promote(db: Connection, now: float) -> float | None:
    """Let due jobs be ready; when to look again."""
    due = cast("list[tuple[int, str | None, int]]", db.all("due", now))
    for seq, gate, limit in due:
        db.all("set_waits", seq, gates.waits_for(db, gate, limit), now)
    row = db.one("next_due")
    return cast("float | None", row[0]) if row else None


def expire(db: Connection, now: float) -> list[str]:
    fault = pack(Fault("Expired", "waited longer than the job's expiry for a free slot"))
    return _dropped(db, db.all("expire", now, fault), now)


def orphan(db: Connection, known: Collection[str], now: float) -> list[str]:
    """Fail what nobody knows how to run, naming it."""
    gone: list[str] = []
    for (command,) in cast("list[tuple[str]]", db.all("ready_commands")):
        if command not in known:
            fault = pack(Fault("UnknownCommand", unknown(command, known)))
            gone += _dropped(db, db.all("orphan", command, fault, now), now)
    return gone


def _dropped(db: Connection, found: list[Row], now: float) -> list[str]:
    for _, gate in found:
        gates.release(db, cast("str | None", gate), now)
    return [cast(str, id) for id, _ in found]


def cancel(db: Connection, id: str, reason: str, now: float) -> Job:
    fault = pack(Fault("Cancelled", reason))
    row = db.one("cancel_new", id, fault, now)
    if row is not None:
        gates.release(db, cast("str | None", row[0]), now)
    else:
        db.all("cancel_running", id, reason, now)
    return reading.get(db, id)


def retry(db: Connection, id: str, now: float) -> Job:
    job = reading.get(db, id)
    if not job.state.ended:
        raise WrongState(f"job {id} is {job.state}; only an ended job can be retried")
    if job.unique is not None:
        there = db.one("find_unique", job.unique, now)
        if there is None:
            db.all("take_unique", job.unique, id, None)
        elif there[0] != id:
            raise DuplicateJob(f"job {cast(str, there[0])} is there already with the same unique key; cancel it first")
    db.all("retry", id, Waits.SLOT if job.key is None else Waits.KEY, now)
    gates.release(db, job.key, now)
    return reading.get(db, id)


def purge(db: Connection, jobs_before: float, events_before: float, limit: int) -> int:
    old = cast("list[tuple[int, str]]", db.all("old_jobs", jobs_before, limit))
    for seq, id in old:
        db.all("delete_job_events", seq)
        db.all("delete_job_key", id)
        db.all("delete_job", seq)
    db.all("delete_old_events", events_before, limit)
    return max(len(old), db.changes())
