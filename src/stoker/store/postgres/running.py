"""Claiming, reporting and settling attempts: each call writes what many requests ask for in one statement.

Events. ``report`` takes the rows of its jobs, with the fence, before an event gets its number, and holds them until the
commit; whoever else has something to say about the job waits for that. So within one job the numbers of events become
visible in their own order, and a cursor that has seen one has seen all before it. Between jobs there is no such order:
a transaction with higher numbers may commit first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stoker.model.job import Claimed
from stoker.store import columns
from stoker.store.base import Held, Quota, Report, Settlement
from stoker.store.postgres import rows
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.session import Db

INT = (1 << 31) - 1


async def claim(db: Db, owner: str, lease: float, quotas: Sequence[Quota], total: int) -> list[Claimed]:
    """Take what may run, best first."""
    total = min(total, INT)
    open_now = [quota for quota in quotas if quota.room > 0]
    if total <= 0 or not open_now:
        return []
    limits = [quota.limit for quota in open_now]
    intervals = [quota.interval for quota in open_now]
    found = await db.all(
        "claim",
        owner,
        lease,
        [quota.command for quota in open_now],
        [min(quota.room, INT) for quota in open_now],
        limits if any(limit is not None for limit in limits) else None,
        intervals if any(interval is not None for interval in intervals) else None,
        total,
    )
    taken = [tuple(row) for row in found]
    taken.sort(key=lambda row: (-row[-1], row[0]))
    return [rows.claimed(row[:-1]) for row in taken]


async def settle(db: Db, settlements: Sequence[Settlement]) -> list[bool]:
    """Write endings; the fence decides whether each is still wanted; the first of several for one attempt counts."""
    first: dict[tuple[int, int], int] = {}
    for place, one in enumerate(settlements):
        first.setdefault((one.seq, one.fence), place)
    places = sorted(first.values(), key=lambda place: settlements[place].seq)
    given = [settlements[place] for place in places]
    endings = [one.ending for one in given]
    found = await db.all(
        "settle",
        [one.seq for one in given],
        [one.fence for one in given],
        [ending.state for ending in endings],
        [ending.attempt for ending in endings],
        [ending.run_at for ending in endings],
        [ending.output for ending in endings],
        [columns.pack_some(ending.fault) for ending in endings],
    )
    accepted = {places[row[0] - 1] for row in found}
    return [place in accepted for place in range(len(settlements))]


async def settled(db: Db, settlements: Sequence[Settlement]) -> list[bool]:
    """Which of these endings stand in the store, whoever wrote them: asked after an answer was lost."""
    found = await db.all("endings", [one.seq for one in settlements], [one.fence for one in settlements])
    there = {n - 1: (state, attempt) for n, state, attempt in found}
    answers = []
    for place, one in enumerate(settlements):
        state, attempt = there.get(place, (None, None))
        answers.append(attempt == one.ending.attempt and state in (one.ending.state, "cancelled"))
    return answers


async def report(db: Db, reports: Sequence[Report]) -> list[bool]:
    """Store what running attempts say."""
    places: dict[tuple[int, int], int] = {}
    progresses: list[str | None] = []
    owners: list[int] = []
    for one in reports:
        place = places.setdefault((one.seq, one.fence), len(progresses))
        if place == len(progresses):
            progresses.append(None)
        if one.progress is not None:
            progresses[place] = columns.pack(one.progress)
        owners += [place + 1] * len(one.events)
    events = [event for one in reports for event in one.events]
    found = await db.all(
        "report",
        [seq for seq, _ in places],
        [fence for _, fence in places],
        progresses,
        owners,
        [event.kind for event in events],
        [event.at for event in events],
        [event.data for event in events],
    )
    running = {row[0] - 1 for row in found}
    return [places[one.seq, one.fence] in running for one in reports]


async def reported(db: Db, reports: Sequence[Report]) -> bool:
    """Whether these reports, written in one transaction whose answer was lost, are in the store: a job's newest events
    are then theirs, because nobody else writes any while the attempt is ours. True only where they had events."""
    said: dict[int, list[Any]] = {}
    for one in reports:
        said.setdefault(one.seq, []).extend(one.events)
    for seq, events in said.items():
        if events:
            found = await db.all("last_events", seq, len(events))
            there = [(kind, data) for _, kind, data in reversed(found)]
            times = [at for at, _, _ in reversed(found)]
            same = there == [(event.kind, event.data) for event in events]
            return same and all(abs(at - event.at) < 1e-5 for at, event in zip(times, events, strict=True))
    return False


async def abandoned(db: Db, limit: int) -> list[Claimed]:
    return [rows.claimed(tuple(row)) for row in await db.all("abandoned", max(0, min(limit, INT)))]


async def renew(db: Db, clock: ServerClock, owner: str, lease: float, held: Sequence[Held]) -> list[bool]:
    """Extend leases; False where the attempt is not the owner's newest any more."""
    asked = clock.mono()
    row = await db.one("renew", owner, lease, [one.seq for one in held], [one.fence for one in held])
    assert row is not None
    clock.heard(asked, row["moment"])
    mine = set(row["mine"] or ())
    return [place + 1 in mine for place in range(len(held))]


async def orders(db: Db, owner: str) -> list[tuple[str, str]]:
    return [(row["id"], row["cancel"]) for row in await db.all("orders", owner)]
