"""``stoker migrate-store``: everything that one store keeps, copied into another."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from stoker.client import offline
from stoker.model.errors import StoreUnavailable
from stoker.model.slot import Line, Slot
from stoker.store import address
from stoker.store.base import Store

PAGE = 200
"""Jobs in one transaction."""
ROWS = 2000
"""Schedules, or slots of them, in one transaction."""
Tell = Callable[[int, int], None]


class Copied(msgspec.Struct):
    """How much was seen. ``stored`` is how many of the jobs were new to the target, ``fresh`` how many of the schedules
    and slots."""

    jobs: int = 0
    stored: int = 0
    schedules: int = 0
    slots: int = 0
    fresh: int = 0


async def copy(source: str, target: str, tell: Tell) -> Copied:
    """Copy jobs with their events, unique keys, pauses and cordons, and schedules with their pauses and slots. Calls
    ``tell`` with what was seen and what there is, as far as that is known. A second run, after one that was cut off,
    does what is left.

    Raises StoreError when either cannot be used.
    """
    if await address.look(source) is None:
        raise StoreUnavailable(f"there is no store at {source}")
    async with offline.opened(source) as old, offline.opened(target) as new:
        counts = await old.counts()
        total = counts.new + counts.running + counts.completed + counts.failed + counts.cancelled
        done, after = Copied(), 0
        while page := await old.dump(after, PAGE):
            done.stored += await new.restore(page)
            done.jobs += len(page)
            after = page[-1].job.seq
            tell(done.jobs, total)
        await _schedules(old, new, done, tell)
        await _proofs(old, new)
        await _rules(old, new)
    return done


async def _schedules(old: Store, new: Store, done: Copied, tell: Tell) -> None:
    """How far they have come, and what became of each slot: from that the monitors go on, too."""

    def told() -> None:
        seen = done.jobs + done.schedules + done.slots
        tell(seen, seen)

    line: Line | None = None
    while known := await old.schedules.dump(line, ROWS):
        done.fresh += await new.schedules.restore(known, ())
        done.schedules += len(known)
        line = known[-1].standing.line
        told()
    slot: Slot | None = None
    while slots := await old.schedules.dump_slots(slot, ROWS):
        done.fresh += await new.schedules.restore((), slots)
        done.slots += len(slots)
        slot = slots[-1]
        told()


async def _proofs(old: Store, new: Store) -> None:
    """What was taken back must not be good again."""
    after, more = 0, True
    while more:
        page = await old.proofs.revoked(after)
        await new.proofs.restore(page.revoked)
        after, more = page.offset, page.more


async def _rules(old: Store, new: Store) -> None:
    """What people said about commands and nodes."""
    for name in await old.pauses():
        await new.pause(name)
    for name in await old.cordons():
        await new.cordon(name)
