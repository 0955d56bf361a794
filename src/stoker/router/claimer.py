"""When to claim, and what: whenever there is room and reason to think that something waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from stoker import failpoint
from stoker.model.command import Isolation
from stoker.model.errors import StoreError
from stoker.model.job import Claimed
from stoker.router.pool import Pool
from stoker.settings import Current
from stoker.store.base import Quota, Store

log = structlog.get_logger(role="router")
BATCH = 200
"""Jobs claimed at once at most."""


class Claimer:
    """One claim at a time; wakes that come meanwhile are answered by one more."""

    def __init__(
        self, store: Store, pool: Pool, settings: Current, boot: str, start: Callable[[Claimed], None]
    ) -> None:
        self._store = store
        self._pool = pool
        self._settings = settings
        self._boot = boot
        self._start = start
        self._wanted = False
        self._more = True
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.paused: frozenset[str] = frozenset()
        self.stopped = False

    def room(self) -> None:
        """A slot is free; that matters only if the last claim left something behind."""
        if self._more:
            self.wake()

    def wake(self) -> None:
        """Something may be ready. Where nothing could start, nothing is asked; room that comes free asks then."""
        self._wanted = self._more = True
        if self._task is None and not self.stopped and self.quotas():
            self._task = asyncio.get_running_loop().create_task(self._claim())

    async def stop(self) -> None:
        """Claim no more; a claim under way is carried through, so that nothing it took is lost."""
        self.stopped = True
        if self._timer is not None:
            self._timer.cancel()
        while self._task is not None:
            await asyncio.wait([self._task])

    def is_paused(self, command: str) -> bool:
        return bool(self.paused & {"*", command, command.partition(".")[0]})

    def quotas(self) -> dict[Isolation, list[Quota]]:
        """What could start now, by the kind of slot it takes; the commands of one kind share its room."""
        found: dict[Isolation, list[Quota]] = {}
        for name, spec in self._pool.commands.items():
            if self.is_paused(name):
                continue
            room = self._pool.room(spec)
            if room > 0:
                quota = Quota(name, room, spec.concurrency, spec.interval)
                found.setdefault(spec.isolated(self._pool.default), []).append(quota)
            if room <= 0 or spec.concurrency is not None:
                self._more = True
        return found

    async def _claim(self) -> None:
        try:
            while self._wanted and not self.stopped:
                self._wanted = False
                await self._once()
        except StoreError as error:
            log.error("claim failed", error=error.message)
            self._later(self._settings().look)
        finally:
            self._task = None

    async def _once(self) -> None:
        self._more = False
        for quotas in self.quotas().values():
            total = min(BATCH, quotas[0].room)
            failpoint.hit("before-claim")
            jobs = await self._store.claim(self._boot, self._settings().lease, quotas, total)
            if jobs:
                failpoint.hit("after-claim")
            for job in jobs:
                self._start(job)
            waits = [quota.interval for quota in quotas if quota.interval is not None]
            if waits:
                self._later(min(waits))
            if len(jobs) >= total:
                self._wanted = self._more = True

    def _later(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.wake)
