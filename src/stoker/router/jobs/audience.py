"""Who watches what: subscriptions are cursors over stored events, and a nudge says only "look again".

    nudge(jobs) ────────────────► its watchers ─┐                                  ┌─► a watcher's news ─► its client
    said(job) ─┐                                ├─► one look at a time: store.news ─┴─► …
    wake() ────┴─ WAKE_EVERY ───► theirs, all ──┘

So a watcher misses nothing and sees nothing twice, whatever comes between; the events it gets are those in the store,
in their order. However many watch, there is one look at a time, for all that were nudged meanwhile: a hundred streams
cost one reading, and a slow client is not read for until it has taken what it has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager

import structlog

from stoker.model.errors import StokerError, StoreError, UnknownJob
from stoker.model.event import Event
from stoker.model.job import Job
from stoker.store.base import Cursor, News, Store

log = structlog.get_logger(role="router")

PAGE = 500
WAKE_EVERY = 0.05
"""Seconds between looks into a shared store for what running jobs say, here or elsewhere: at most twenty a second,
however much that is; the first one is at once."""
TRY_AGAIN = 1.0
"""Seconds until a look that the store could not answer is tried again."""


class Watcher:
    """A place in the events of one job, and what was found beyond it."""

    def __init__(self, job: str, after: int, limit: int) -> None:
        self.cursor = Cursor(job, after, limit)
        self.dirty = True
        self._news: News | None = None
        self._error: StokerError | None = None
        self._fresh = asyncio.Event()

    @property
    def hungry(self) -> bool:
        """Whether it wants to be looked for: something may be new, and what came before is taken."""
        return self.dirty and self._news is None

    def give(self, news: News) -> None:
        if news.events or news.ended is not None or news.gone:
            self._news = news
            self._fresh.set()
        if news.events:
            self.cursor = Cursor(self.cursor.job, news.events[-1].seq, self.cursor.limit)
            # a full page: there may be another
            self.dirty = self.dirty or len(news.events) >= self.cursor.limit

    def fail(self, error: StokerError) -> None:
        """There will be no news, for this reason."""
        self._error = error
        self._fresh.set()

    async def take(self) -> News:
        """Wait for news. Raises :class:`UnknownJob` when the job is gone, or why there will be none."""
        await self._fresh.wait()
        self._fresh.clear()
        if self._error is not None:
            raise self._error
        news, self._news = self._news, None
        assert news is not None
        if news.gone:
            raise UnknownJob(f"there is no job {self.cursor.job}")
        return news


class Audience:
    """All watchers of this daemon, by job id."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watchers: dict[str, set[Watcher]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stale: set[str] = set()
        self._all_stale = False
        self._looked = float("-inf")

    @property
    def size(self) -> int:
        return sum(len(watchers) for watchers in self._watchers.values())

    def watches(self, job: str) -> bool:
        """Whether anybody here watches a job."""
        return job in self._watchers

    def nudge(self, jobs: Iterable[str]) -> None:
        """Something about these jobs is new in the store, and matters at once: they have ended, say."""
        if not self._watchers:
            return
        watched = [watcher for job in jobs for watcher in self._watchers.get(job, ())]
        for watcher in watched:
            watcher.dirty = True
        if watched:
            self._look()

    def said(self, job: str) -> None:
        """A job that runs here said something, and it is in the store."""
        if job in self._watchers:
            self._stale.add(job)
            self._look_in_time()

    def wake(self) -> None:
        """Something about any job may be new in the store: another daemon wrote."""
        if self._watchers:
            self._all_stale = True
            self._look_in_time()

    def stop(self) -> None:
        for pending in (self._timer, self._looking):
            if pending is not None:
                pending.cancel()

    async def ended(self, job: str) -> Job:
        """Wait for a job to end. Raises :class:`UnknownJob`."""
        with self._watch(Watcher(job, 0, 0)) as watcher:
            while True:
                news = await watcher.take()
                if news.ended is not None:
                    return news.ended

    async def follow(self, job: str, after: int) -> AsyncIterator[Event]:
        """The job's events after a cursor, until it has ended and all are told. Raises :class:`UnknownJob`."""
        with self._watch(Watcher(job, after, PAGE)) as watcher:
            while True:
                news = await watcher.take()
                for event in news.events:
                    yield event
                if news.ended is not None:
                    return
                self._look()

    @contextmanager
    def _watch(self, watcher: Watcher) -> Iterator[Watcher]:
        job = watcher.cursor.job
        self._watchers.setdefault(job, set()).add(watcher)
        self._look()
        try:
            yield watcher
        finally:
            watchers = self._watchers[job]
            watchers.discard(watcher)
            if not watchers:
                del self._watchers[job]

    def _look_in_time(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            pause = self._looked + WAKE_EVERY - loop.time() if self._store.shared else 0.0
            if pause > 0:
                self._timer = loop.call_later(pause, self._look_at_stale)
            else:
                self._look_at_stale()

    def _look_at_stale(self) -> None:
        self._timer = None
        self._looked = asyncio.get_running_loop().time()
        for job in self._watchers if self._all_stale else self._stale:
            for watcher in self._watchers.get(job, ()):
                watcher.dirty = True
        self._stale, self._all_stale = set(), False
        self._look()

    def _look(self) -> None:
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_for_all())

    async def _look_for_all(self) -> None:
        try:
            while hungry := [watcher for watchers in self._watchers.values() for watcher in watchers if watcher.hungry]:
                for watcher in hungry:
                    watcher.dirty = False
                await self._look_for(hungry)
        finally:
            self._looking = None

    async def _look_for(self, hungry: list[Watcher]) -> None:
        try:
            found = await self._store.news([watcher.cursor for watcher in hungry])
        except StoreError as error:
            log.error("cannot look for what is watched; trying again", error=error.message, watchers=len(hungry))
            for watcher in hungry:
                watcher.dirty = True
            await asyncio.sleep(TRY_AGAIN)
            return
        except Exception:
            if len(hungry) > 1:
                # one of them cannot be read; that harms none of the others
                for watcher in hungry:
                    await self._look_for([watcher])
                return
            (watcher,) = hungry
            log.exception("what a job said cannot be read", job=watcher.cursor.job)
            watcher.fail(StokerError(f"what job {watcher.cursor.job} said cannot be read; the daemon's log says more"))
            return
        for watcher, news in zip(hungry, found, strict=True):
            watcher.give(news)
