"""Being one of the nodes that share a store: heard of, trusted, and told.

    beat ──────► roster ◄── nodes, cordons          every third of a lease
    renew ─────► leases of what runs here           every third of a lease
    obey ◄────── orders: cancel, pause, cordon      when woken, and at every look

How long what is leased may be taken for ours is said in :mod:`stoker.router.jobs.trust`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

import structlog

from stoker._version import __version__
from stoker.model.clock import Clock
from stoker.model.errors import StoreError
from stoker.model.node import Beat
from stoker.router.jobs.audience import Audience
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.jobs.trust import FAREWELL, asked_now
from stoker.settings import Current
from stoker.store.base import Store, Wake

log = structlog.get_logger(role="router")

RENEWALS = 3
"""Heartbeats and renewals in the time of one lease."""
AGAIN = 1.0
"""Seconds until it is asked again for orders about jobs that are not here yet."""


class Member:
    """This daemon as a node. Its duties are repeated by the keeper; each returns the seconds until the next time."""

    def __init__(
        self, store: Store, settings: Current, clock: Clock, boot: str, desk: Desk, claimer: Claimer, audience: Audience
    ) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock
        self._boot = boot
        self._desk = desk
        self._claimer = claimer
        self._audience = audience
        self._ordered = asyncio.Event()
        self._obeying = asyncio.Lock()
        self._again: asyncio.TimerHandle | None = None
        self.on_jobs: Callable[[], None] = lambda: None
        """Called when another daemon, or SQL, stored jobs."""
        self.on_orders: Callable[[], None] = lambda: None
        """Called when there may be orders, or roles that came free."""
        self.on_news: Callable[[], None] = lambda: None
        """Called when another daemon wrote about jobs."""
        self.on_messages: Callable[[], None] = lambda: None
        """Called when another daemon pushed something."""
        store.listen(self._woken)

    async def beat(self) -> float:
        """Be on the roster, and hear whether new jobs may begin here."""
        now = self._settings()
        cordoned = await self._store.beat(
            Beat(
                boot=self._boot,
                name=now.node,
                host=os.uname().nodename,
                pid=os.getpid(),
                version=__version__,
                labels=now.labels,
                slots=now.max_tasks or now.consumers_max,
                running=len(self._desk.attempts),
                seconds=now.lease,
            )
        )
        if cordoned != self._claimer.cordoned:
            self._claimer.cordon(cordoned)
            self.on_orders()
        return now.lease / RENEWALS

    async def renew(self) -> float:
        """Extend the leases of what runs here; done by the router, so that a busy job cannot miss it. What is another
        node's by now is ended."""
        lease, trust, held = self._settings().lease, asked_now(self._settings, self._clock), self._desk.held
        if held:
            answers = await self._store.renew(self._boot, lease, held)
            self._desk.renewed(dict(zip(held, answers, strict=True)), trust)
        return lease / RENEWALS

    async def obey(self) -> None:
        """Do what others ordered: cancel running jobs, respect pauses. One at a time: of two answers the older must not
        come last."""
        async with self._obeying:
            orders = await self._store.orders(self._boot)
            here = {attempt.job.id for attempt in self._desk.attempts}
            for id, reason in orders:
                self._desk.cancel(id, reason)
            if not here.issuperset(id for id, _ in orders):
                # claimed a moment ago, and the answer to the claim is still on its way
                self._obey_again()
            self._claimer.paused = await self._store.pauses()

    def _obey_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(AGAIN, self._ordered.set)

    async def wait_for_orders(self) -> float:
        """Wait until somebody says that there are orders, and obey them."""
        await self._ordered.wait()
        self._ordered.clear()
        await self.obey()
        await self.beat()
        self.on_orders()
        self._claimer.wake()
        return 0.0

    async def leave(self) -> None:
        """Go off the roster, if that can be said."""
        try:
            async with asyncio.timeout(FAREWELL):
                await self._store.leave(self._boot)
        except (StoreError, TimeoutError) as error:
            log.warning("cannot leave the roster; that will be noticed by itself", error=str(error) or "no answer")

    def _woken(self, wake: Wake) -> None:
        """Another daemon, or SQL, changed the store."""
        match wake:
            case Wake.JOBS:
                self._claimer.wake()
                self.on_jobs()
            case Wake.NEWS:
                self._audience.wake()
                self.on_news()
            case Wake.ORDERS:
                self._ordered.set()
            case Wake.MESSAGES:
                self.on_messages()
