"""``stoker migrate-store``: everything that one store keeps, copied into another."""

from __future__ import annotations

from collections.abc import Callable

from stoker.client import offline
from stoker.model.errors import StoreUnavailable
from stoker.store import address
from stoker.store.base import Store

PAGE = 200
"""Jobs in one transaction."""


async def copy(source: str, target: str, tell: Callable[[int, int], None]) -> tuple[int, int]:
    """Copy jobs with their events, unique keys, pauses and cordons. Calls ``tell`` with the jobs seen and those there
    are. Returns how many jobs were seen and how many of them were new to the target, so that a second run, after one
    that was cut off, does what is left.

    Raises StoreError when either cannot be used.
    """
    if await address.look(source) is None:
        raise StoreUnavailable(f"there is no store at {source}")
    async with offline.opened(source) as old, offline.opened(target) as new:
        counts = await old.counts()
        total = counts.new + counts.running + counts.completed + counts.failed + counts.cancelled
        seen = stored = after = 0
        while page := await old.dump(after, PAGE):
            stored += await new.restore(page)
            seen += len(page)
            after = page[-1].job.seq
            tell(seen, total)
        await _rules(old, new)
    return seen, stored


async def _rules(old: Store, new: Store) -> None:
    """What people said about commands and nodes."""
    for name in await old.pauses():
        await new.pause(name)
    for node in await old.nodes():
        if node.cordoned:
            await new.cordon(node.name)
