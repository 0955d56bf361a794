"""When to claim, and what: whenever there is room and reason to think that something waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import NamedTuple, Protocol

import structlog

from stoker import failpoint
from stoker.model.clock import Clock
from stoker.model.command import CommandSpec
from stoker.model.errors import StoreError
from stoker.model.job import Claimed
from stoker.router.jobs.rates import Rates
from stoker.router.jobs.trust import FAREWELL, Trust, asked_now
from stoker.router.pools import share as pools_share
from stoker.router.pools.lanes import FORK
from stoker.router.pools.pool import Pool
from stoker.router.pools.share import Portion
from stoker.settings import Current
from stoker.store.base import Quota, Store

log = structlog.get_logger(role="router")
BATCH = 500
"""Jobs claimed at once at most. Each statement of a claim costs the writer thread a wait for the interpreter, so many
jobs share it (measured: a warm pool ends 16 to 20 thousand jobs a second with 200, 23 with 500)."""


class Asked(NamedTuple):
    """A claim that stands in the store's line: at most ``total`` jobs of these commands."""

    quotas: list[Quota]
    total: int
    claiming: Awaitable[list[Claimed]]
    trust: Trust
    product: str | None
    """Whose share it is, if products have shares."""


class RoleGate(Protocol):
    """Which roles are this node's: see :mod:`stoker.router.nodes.roles`."""

    def holds(self, role: str) -> bool:
        """Whether what asks for the role may begin here."""

    async def whereabouts(self, role: str) -> str:
        """Who holds a role that is not this node's, as a sentence."""


class Claimer:
    """One round of claims at a time; wakes that come meanwhile are answered by one more.

    A claim is handed to the store within the wake itself, so that it shares the commit of what caused it: a job that
    comes while a slot is free is stored and claimed in one transaction.
    """

    def __init__(
        self, store: Store, pool: Pool, settings: Current, clock: Clock, boot: str,
        start: Callable[[list[Claimed], Trust], None], decline: Callable[[list[Claimed], str], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._boot = boot
        self._start = start
        self._decline = decline
        self._fresh: set[str] = set()
        self._everything = True
        self._more = True
        self._sated: set[str] = set()
        """Products that left some of their share: nothing of them waits."""
        self._task: asyncio.Task[None] | None = None
        self._again: asyncio.TimerHandle | None = None
        self._rates = Rates(self._look)
        self.paused: frozenset[str] = frozenset()
        self.cordoned = False
        self.roles: RoleGate | None = None
        self.stopped = False

    def room(self) -> None:
        """A slot is free; that matters only if the last claim left something behind."""
        if self._more:
            self.wake()

    def wake(self, commands: Iterable[str] | None = None) -> None:
        """Something may be ready: jobs of these commands, or of any. Where nothing could start, nothing is asked; room
        that comes free asks then."""
        if self._sated:
            self._sated.clear()
        if commands is None or self._more:
            self._everything = True
        else:
            self._fresh.update(commands)
        self._claim()

    def _claim(self) -> None:
        if self._task is None and not self.stopped and not self.cordoned:
            asked = self._ask()
            if asked:
                self._task = asyncio.get_running_loop().create_task(self._carry_out(asked))

    def cordon(self, cordoned: bool) -> None:
        """Whether this node begins no new jobs, by somebody's order."""
        if cordoned != self.cordoned:
            log.warning("cordoned: no new jobs begin here" if cordoned else "the cordon is lifted")
            self.cordoned = cordoned
            self.wake()

    async def stop(self) -> None:
        """Claim no more; a claim under way is carried through, so that nothing it took is lost. A server that is away
        is not waited for: what it may have given us still, others find when the lease is over."""
        self.stopped = True
        self._rates.stop()
        if self._again is not None:
            self._again.cancel()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=FAREWELL if self._store.shared else None)
            for task in late:
                task.cancel()
                await asyncio.wait({task})

    @property
    def node(self) -> str:
        return self._settings().node

    def holds(self, role: str) -> bool:
        """Whether what asks for a role may begin here."""
        return not role or self.roles is None or self.roles.holds(role)

    def is_paused(self, command: str) -> bool:
        return bool(self.paused & {"*", command, command.partition(".")[0]})

    def missing(self, spec: CommandSpec) -> frozenset[str]:
        """The labels that a command asks for and this node does not have."""
        return frozenset(spec.labels).difference(self._settings().labels)

    def _ask(self) -> list[Asked]:
        """Put claims for what could start now in the store's line, one for each kind of slot."""
        if self._everything:
            self._more = False
            names: Iterable[str] = self._pool.commands
        else:
            names = self._fresh
        asked = []
        for lane, quotas in self._quotas(names).items():
            for portion in self._portions(lane, quotas):
                failpoint.hit("before-claim")
                total = min(BATCH, portion.total)
                trust = asked_now(self._settings, self._clock)
                claiming = self._store.claim(self._boot, self._settings().lease, portion.quotas, total)
                asked.append(Asked(portion.quotas, total, claiming, trust, portion.product))
        self._everything = False
        self._fresh = set()
        return asked

    def _portions(self, lane: str, quotas: list[Quota]) -> list[Portion]:
        """The claims of one lane: one, unless products have shares of it."""
        room, pools = quotas[0].room, self._pool.lanes.pools
        if lane != FORK or not pools_share.are_asked_for(pools.values()):
            return [Portion(quotas, room)]
        self._more = True
        hungry = [quota for quota in quotas if quota.command.partition(".")[0] not in self._sated]
        slots, held = self._settings().consumers_max, self._pool.consumers.by_product
        return pools_share.portions(hungry, room, slots, held, pools)

    def _quotas(self, names: Iterable[str]) -> dict[str, list[Quota]]:
        """What could start now, by the lane it takes; the commands of one lane share its room."""
        found: dict[str, list[Quota]] = {}
        rooms: dict[str, int] = {}
        for name in names:
            spec = self._pool.commands.get(name)
            if spec is None or self.is_paused(name) or self.missing(spec) or not self.holds(spec.role):
                continue
            lane = self._pool.lanes.of(spec)
            if lane not in rooms or not self._pool.lanes.pools[spec.product].enabled:
                rooms[lane] = self._pool.room(spec)
            room = rooms[lane]
            if room > 0:
                quota = Quota(name, room, spec.concurrency, spec.interval)
                found.setdefault(lane, []).append(quota)
            if room <= 0 or spec.concurrency is not None:
                self._more = True
        return found

    async def _carry_out(self, asked: list[Asked]) -> None:
        try:
            while asked:
                for one in asked:
                    await self._take(one)
                self._everything |= any(one.product for one in asked)
                asked = self._ask() if (self._everything or self._fresh) and not (self.stopped or self.cordoned) else []
        finally:
            self._task = None

    async def _take(self, asked: Asked) -> None:
        try:
            jobs = await asked.claiming
        except StoreError as error:
            log.error("claim failed", error=error.message)
            self._more = True
            self._try_again()
            return
        if jobs and self.cordoned:
            self._decline(jobs, "its node was cordoned")
        elif jobs:
            failpoint.hit("after-claim")
            self._start(jobs, asked.trust)
        self._rates.claimed(asked.quotas, jobs)
        if len(jobs) < asked.total and asked.product is not None:
            self._sated.add(asked.product)
        if len(jobs) >= asked.total:
            self._everything = self._more = True

    def _try_again(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(self._settings().look, self.wake)

    def _look(self, commands: set[str]) -> None:
        """A rate lets these go on."""
        self._fresh |= commands
        self._sated.difference_update(command.partition(".")[0] for command in commands)
        self._claim()
