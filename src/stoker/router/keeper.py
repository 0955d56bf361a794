"""What must happen though nobody asks: leases renewed, the lost found, the due made ready, the old forgotten.

Every duty is a loop of its own that survives the store's troubles; none is a job, so none waits for a slot. A duty that
looks for what a lost wake-up left behind runs every ``look`` seconds: the backstop of every fast path.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import structlog

from stoker import failpoint
from stoker.model.errors import StoreError
from stoker.model.outcome import Blame, Fault, Lost
from stoker.router.jobs.audience import Audience
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.nodes.member import RENEWALS, Member
from stoker.router.pools.pool import Pool
from stoker.router.push.hub import Hub
from stoker.run import process
from stoker.settings import Current
from stoker.store.base import Store

log = structlog.get_logger(role="router")

MEMORY_EVERY = 0.5
"""Seconds between looks at the memory of jobs that have a limit."""
DUE_EVERY = 1.0
"""Seconds between looks for due jobs that other daemons cause: at most one a second, however much they write."""
PURGE_EVERY = 300.0
PURGE_BATCH = 500


class Keeper:
    """The duties, as tasks."""

    def __init__(
        self, store: Store, settings: Current, boot: str, pool: Pool, desk: Desk, claimer: Claimer, audience: Audience,
        hub: Hub, member: Member,
    ) -> None:  # fmt: skip
        self._store = store
        self._settings = settings
        self._boot = boot
        self._pool = pool
        self._desk = desk
        self._claimer = claimer
        self._audience = audience
        self._hub = hub
        self._member = member
        self._tasks: list[asyncio.Task[None]] = []
        self._due = asyncio.Event()
        self._due_timer: asyncio.TimerHandle | None = None
        self.on_look: Callable[[], None] = lambda: None
        """Called at every look, for what others look after."""
        member.on_jobs = self._due_soon

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        duties: list[tuple[Callable[[], Awaitable[float]], str]] = [
            (self._member.renew, "renew"),
            (self._member.beat, "beat"),
            (self._member.wait_for_orders, "orders"),
            (self.look, "look"),
            (self.weigh, "memory"),
            (self.purge, "purge"),
        ]
        self._tasks = [loop.create_task(self._repeat(duty), name=name) for duty, name in duties]
        self._tasks.append(loop.create_task(self._promote(), name="promote"))

    async def stop(self) -> None:
        if self._due_timer is not None:
            self._due_timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._member.leave()

    def due(self) -> None:
        """A job was stored that is due later, perhaps before all that are known of."""
        self._due.set()

    def _due_soon(self) -> None:
        """Somebody else stored jobs; one of them may be due before all that we know of."""
        if self._due_timer is None:
            self._due_timer = asyncio.get_running_loop().call_later(DUE_EVERY, self._look_for_due)

    def _look_for_due(self) -> None:
        self._due_timer = None
        self.due()

    async def look(self) -> float:
        """Whatever waits though it should not."""
        self.on_look()
        await self.reap()
        self._audience.nudge(await self._store.expire())
        await self._member.obey()
        if self._store.shared:
            self._audience.wake()
            self._hub.wake()
        elif self._pool.ready:
            # where others share the store, they may know what we do not
            orphans = await self._store.orphan(list(self._pool.commands))
            for id in orphans:
                log.warning("a job of an unknown command failed", job=id)
            self._audience.nudge(orphans)
        self._pool.try_again()
        self._claimer.wake()
        return self._settings().look

    async def reap(self) -> None:
        """Settle attempts that nobody works on; the fence decides if that is still so when it is written."""
        lost = [job for job in await self._store.abandoned(self._boot) if not self._desk.holds(job)]
        failpoint.hit("before-reap")
        for job in lost:
            log.warning("a lost job was found", job=job.id, command=job.command, attempt=job.attempt)
            self._desk.mend(job, Lost(Fault("Lost", "the daemon that ran it went away"), Blame.HOUSE))

    async def weigh(self) -> float:
        """Jobs with a memory limit, by what their whole tree holds; and workers that are replaced for theirs."""
        self._pool.weigh()
        for attempt in self._desk.attempts:
            place = attempt.place
            if not attempt.memory or place is None or not place.alone or place.pid is None:
                continue
            if process.tree_rss(place.pid) > attempt.memory:
                attempt.over_memory()
        return MEMORY_EVERY

    async def purge(self) -> float:
        """What is kept no longer, in small bites."""
        now = self._settings()
        gone = await self._store.purge(now.keep_jobs, now.keep_events, PURGE_BATCH)
        gone = max(gone, await self._store.messages.purge(now.web.keep, PURGE_BATCH))
        gone = max(gone, await self._store.proofs.forget(PURGE_BATCH))
        gone = max(gone, await self._store.audit.forget(now.keep_audit, PURGE_BATCH))
        return 0.05 if gone >= PURGE_BATCH else PURGE_EVERY

    async def _promote(self) -> None:
        """Due jobs at their moment: sleeps until the next one, or until an earlier one is stored."""
        while True:
            self._due.clear()
            try:
                coming = await self._store.promote()
            except StoreError as error:
                log.error("cannot look for due jobs", error=error.message)
                coming = None
            except Exception:
                log.exception("looking for due jobs failed by our own fault; it goes on")
                coming = None
            self._claimer.wake()
            wait = self._settings().look if coming is None else max(0.0, coming - self._store.now())
            # the wall clock may jump: never sleep on it for long. (wait_for would swallow a cancel before Python 3.12.)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait, self._settings().look) + 0.001):
                    await self._due.wait()

    async def _repeat(self, duty: Callable[[], Awaitable[float]]) -> None:
        while True:
            try:
                pause = await duty()
            except StoreError as error:
                log.error("a duty failed; it goes on", duty=duty.__name__, error=error.message)
                pause = self._again
            except Exception:
                log.exception("a duty failed by our own fault; it goes on", duty=duty.__name__)
                pause = self._again
            await asyncio.sleep(pause)

    @property
    def _again(self) -> float:
        """Seconds until a duty that failed is tried again: soon enough for a lease to be renewed before it is over."""
        now = self._settings()
        return min(now.look, now.lease / RENEWALS)
