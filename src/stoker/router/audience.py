"""Who watches what: subscriptions are cursors over stored events, and a nudge says only "look again".

So a watcher misses nothing and sees nothing twice, whatever comes between; the events it gets are those in the store,
in their order.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from stoker.model.event import Event
from stoker.model.job import Job
from stoker.store.base import Store

PAGE = 500


class Audience:
    """Nudges by job id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[asyncio.Event]] = {}

    def nudge(self, job: str) -> None:
        """Something about this job is new in the store."""
        for watcher in self._watchers.get(job, ()):
            watcher.set()

    @property
    def size(self) -> int:
        return sum(len(watchers) for watchers in self._watchers.values())

    @contextmanager
    def watch(self, job: str) -> Iterator[asyncio.Event]:
        """An event that is set at every nudge of the job."""
        watcher = asyncio.Event()
        self._watchers.setdefault(job, set()).add(watcher)
        try:
            yield watcher
        finally:
            watchers = self._watchers[job]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[job]

    async def ended(self, job: str) -> Job:
        """Wait for a job to end."""
        with self.watch(job) as watcher:
            while True:
                watcher.clear()
                found = await self._store.get(job)
                if found.state.ended:
                    return found
                await watcher.wait()

    async def follow(self, job: str, after: int) -> AsyncIterator[Event]:
        """The job's events after a cursor, until it has ended and all are told."""
        with self.watch(job) as watcher:
            while True:
                watcher.clear()
                over = (await self._store.get(job)).state.ended
                while True:
                    page = await self._store.events(job, after, PAGE)
                    for event in page:
                        after = event.seq
                        yield event
                    if len(page) < PAGE:
                        break
                if over:
                    return
                await watcher.wait()
