"""Claiming, reporting and settling attempts."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import cast

from stoker.model.job import Claimed, Waits
from stoker.store import columns
from stoker.store.base import Held, Quota, Report, Settlement
from stoker.store.sqlite import gates, rows
from stoker.store.sqlite.connection import Connection, Value

INLINED = 4096
"""Bytes up to which inputs and outputs travel many at a time, as one value."""


def claim(db: Connection, owner: str, lease: float, quotas: Sequence[Quota], total: int, now: float) -> list[Claimed]:
    """Take what may run. With one command that has ready jobs this is one statement."""
    paused = {cast(str, row[0]) for row in db.all("pauses")}
    if paused:
        quotas = [quota for quota in quotas if not paused & {"*", quota.command, quota.command.partition(".")[0]}]
    if len(quotas) > 1:
        ready = {row[0] for row in db.all("ready_commands")}
        quotas = [quota for quota in quotas if quota.command in ready]
    open_now = [(quota, room) for quota in quotas if (room := _room(db, quota, total, now)) > 0]
    if len(open_now) == 1:
        quota, room = open_now[0]
        jobs = _first(db, quota.command, room, now)
        if jobs:
            db.all("claim_first", owner, now + lease, now, quota.command, room)
    else:
        jobs = _merged(db, owner, lease, open_now, total, now)
    _count_rates(db, quotas, jobs, now)
    return jobs


def _first(db: Connection, command: str, room: int, now: float) -> list[Claimed]:
    """The first in line, as they will be when they are claimed, a line of this code below."""
    try:
        (row,) = db.all("first_ready", command, now, room, INLINED)
    except UnicodeDecodeError:
        # somebody wrote an input that is no text; whoever runs it will say so
        (row,) = db.all("first_ready", command, now, room, -1)
    return [
        rows.claimed_from(found, cast(bytes, db.all("input_of", found.seq)[0][0]) if found.input is None else None)
        for found in rows.ready(cast(str, row[0]))
    ]


def _room(db: Connection, quota: Quota, total: int, now: float) -> int:
    room = min(quota.room, total)
    if quota.limit is not None and room > 0:
        row = db.one("running_of", quota.command)
        room = min(room, quota.limit - cast(int, row[0] if row else 0))
    if quota.interval is not None and room > 0:
        row = db.one("rate_get", quota.command)
        room = 0 if row is not None and cast(float, row[0]) > now else min(room, 1)
    return room


def _merged(
    db: Connection, owner: str, lease: float, open_now: list[tuple[Quota, int]], total: int, now: float
) -> list[Claimed]:
    """The best of several commands: each one's first in line, merged by priority and age."""
    lines = []
    for quota, room in open_now:
        found = cast("list[tuple[int, int]]", db.all("ready", quota.command, now, room))
        lines.append([(-priority, seq) for seq, priority in found])
    chosen = [seq for _, seq in heapq.merge(*lines)][:total]
    jobs = []
    for seq in chosen:
        row = db.one("claim", owner, now + lease, now, seq)
        if row is not None:
            jobs.append(rows.claimed(row))
    return jobs


def _count_rates(db: Connection, quotas: Sequence[Quota], jobs: list[Claimed], now: float) -> None:
    limited = {quota.command: quota.interval for quota in quotas if quota.interval is not None}
    for job in jobs:
        interval = limited.get(job.command)
        if interval is not None:
            db.all("rate_set", job.command, now + interval)


def settle(db: Connection, settlements: Sequence[Settlement], now: float) -> list[bool]:
    """Write endings; the fence decides whether each is still wanted."""
    if not any(one.key or one.ending.again for one in settlements) and _end_all(db, settlements, now):
        return [True] * len(settlements)
    return [(one.ending.again and _again(db, one, now)) or _end(db, one, now) for one in settlements]


def _end_all(db: Connection, settlements: Sequence[Settlement], now: float) -> bool:
    """The plain case, where no answer is needed for each: half the price. If any was late, nothing is written."""
    with db.savepoint() as undo:
        before = db.total_changes()
        if sum(len(one.ending.output) for one in settlements if one.ending.output) <= INLINED * len(settlements):
            db.all("end_all", rows.packed(settlements), now)
        else:
            db.each("end", [_end_values(one, now) for one in settlements])
        if db.total_changes() - before == len(settlements):
            return True
        undo()
        return False


def _end(db: Connection, settlement: Settlement, now: float) -> bool:
    """Also for what could not go back because somebody asked to cancel it."""
    db.all("end", *_end_values(settlement, now))
    if not db.changes():
        return False
    gates.release(db, settlement.key, now)
    return True


def _end_values(settlement: Settlement, now: float) -> tuple[Value, ...]:
    ending = settlement.ending
    fault = columns.pack_some(ending.fault)
    return (settlement.seq, settlement.fence, ending.state, ending.output, fault, now, ending.attempt)


def _again(db: Connection, settlement: Settlement, now: float) -> bool:
    ending = settlement.ending
    assert ending.run_at is not None
    waits = Waits.TIME if ending.run_at > now else Waits.SLOT
    fault = columns.pack_some(ending.fault)
    db.all("again", settlement.seq, settlement.fence, waits, ending.run_at, fault, ending.attempt, now)
    if not db.changes():
        return False
    if waits is Waits.TIME:
        gates.release(db, settlement.key, now)
    return True


def report(db: Connection, reports: Sequence[Report], now: float) -> list[bool]:
    """Store what running attempts say."""
    return [_report(db, item, now) for item in reports]


def _report(db: Connection, item: Report, now: float) -> bool:
    row = db.one("is_running", item.seq, item.fence)
    if row is None:
        return False
    if item.progress is not None:
        db.all("set_progress", item.seq, item.fence, columns.pack(item.progress), now)
    db.each("insert_event", [(item.seq, row[0], event.at, event.kind, event.data) for event in item.events])
    return True


def abandoned(db: Connection, owner: str, limit: int, now: float) -> list[Claimed]:
    return [rows.claimed(row) for row in db.all("abandoned", owner, now, limit)]


def renew(db: Connection, owner: str, until: float, held: Sequence[Held]) -> list[bool]:
    """Extend leases; False where the attempt is not the owner's newest any more."""
    answers = []
    for one in held:
        db.all("renew", one.seq, one.fence, owner, until)
        answers.append(db.changes() > 0)
    return answers


def orders(db: Connection, owner: str) -> list[tuple[str, str]]:
    return cast("list[tuple[str, str]]", db.all("orders", owner))
