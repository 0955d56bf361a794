"""Figures, again and again: the one place that looks at this machine, the daemon's processes and what they counted.

    every period ──► ask residents that worked how they are ──► look at /proc, in a thread ──► figures
                                                                                                 │
                       subscribers of sys-stats ◄── on_sample ◄──────────────────────────────────┤
                       store: a row for a period in which something happened, one for every minute ◄┘
                       and, where nodes share it, one every 15 s that names the workers

A resident that has done nothing is not asked, so that an idle pool sleeps on; whoever wants to know it now asks for
:meth:`Sampler.workers`, and then every one of them is.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog

from stoker.model.clock import Clock
from stoker.model.errors import StokerError, StoreError
from stoker.model.stats import ProcessInfo, Sample, SystemInfo, WorkerInfo
from stoker.router.jobs.desk import Desk
from stoker.router.pools.pool import Pool
from stoker.router.pools.resident import Resident
from stoker.router.pools.workers import Worker
from stoker.router.stats.look import Host, Looker, Seen, look_at_host
from stoker.router.stats.meter import Meter, Stored, command_infos, jobs_info, packed, pool_infos
from stoker.router.stats.tally import CommandTally, Tally
from stoker.settings import Current
from stoker.store.base import Store
from stoker.wire.records import iso

log = structlog.get_logger(role="router")

COARSE = 60.0
"""Seconds of a coarse period."""
FINE_KEPT = 3600.0
"""Seconds that short periods are kept."""
TOLD_EVERY = 15.0
"""Seconds between the periods that tell other nodes of the workers here."""
FORGET_EVERY = 600.0
FORGET_BATCH = 1000
ANSWER_WITHIN = 0.02
"""Seconds that a sample waits for what residents say; what comes later is in the next one."""
LOOK_WITHIN = 0.5
"""The same for somebody who asked."""
FIRST_WITHIN = 10.0
"""Seconds that somebody waits for the first sample."""


class Sampler:
    """``on_sample`` gets every sample."""

    def __init__(
        self, settings: Current, store: Store, clock: Clock, boot: str, pool: Pool, desk: Desk, tally: Tally,
        on_sample: Callable[[Sample], None],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._clock = clock
        self._boot = boot
        self._pool = pool
        self._desk = desk
        self._tally = tally
        self._on_sample = on_sample
        self._looker = Looker()
        self._looking = asyncio.Lock()
        self._periods, self._minutes, self._looks = Meter(tally), Meter(tally), Meter(tally)
        self._sampled = self._kept = clock.mono()
        self._told = self._forgot = -FORGET_EVERY
        self._done: dict[int, int] = {}
        """Jobs that each resident had done at the sample before."""
        self._task: asyncio.Task[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self._latest: asyncio.Future[Sample] = asyncio.get_running_loop().create_future()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="sampler")

    async def stop(self) -> None:
        for task in (self._task, self._keeping):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    # ── for whoever asks ─────────────────────────────────────────────────────────────────────────────────────────────

    async def latest(self) -> Sample:
        """The last sample; soon after the start, the first one. Raises :class:`StokerError` when there is none."""
        try:
            return await asyncio.wait_for(asyncio.shield(self._latest), FIRST_WITHIN)
        except TimeoutError:
            raise StokerError("nothing could be measured yet; the daemon's log says why") from None

    async def workers(self) -> list[WorkerInfo]:
        """Every process that runs jobs, as it is now, also in the middle of one. A resident that does not answer within
        half a second is told of as it was when it did."""
        for worker in self._residents():
            worker.inspect(now=True)
        async with self._looking:
            await self._answers(LOOK_WITHIN)
            _, seen = await self._look(self._workers())
            return self._worker_infos(self._looks, seen)

    async def system(self) -> SystemInfo:
        """The machine as it is now."""
        return self._looks.system(await asyncio.to_thread(look_at_host))

    # ── again and again ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                await self._period()
            except Exception:
                log.exception("a sample failed by our own fault")
            # what could not be sampled in its time is left out
            due = max(due + self._settings().stats.every, loop.time())
            await asyncio.sleep(due - loop.time())

    async def _period(self) -> None:
        """Sample, tell, and begin to keep."""
        for worker in self._residents():
            if worker.load or worker.done != self._done.get(worker.number, 0):
                worker.inspect()
        async with self._looking:
            host, seen = await self._look([*self._workers(), *self._others()])
            await self._answers(ANSWER_WITHIN)
        now = self._clock.mono()
        commands = self._periods.commands()
        self._tally.skew = self._store.now() - self._clock.wall() if self._store.shared else 0.0
        self._done = {worker.number: worker.done for worker in self._residents()}
        sample = self._sample(host, seen, commands, now - self._sampled)
        self._sampled = now
        if not self._latest.done():
            self._minutes.system(host)  # from here on
        else:
            self._latest = asyncio.get_running_loop().create_future()
        self._latest.set_result(sample)
        self._on_sample(sample)
        if self._keeping is None or self._keeping.done():
            # beside: while the store does not answer, whoever watches still sees what happens
            keeping = self._keep(sample, commands, host, now)
            self._keeping = asyncio.get_running_loop().create_task(keeping, name="figures")

    def _sample(self, host: Host, seen: dict[int, Seen], commands: dict[str, CommandTally], seconds: float) -> Sample:
        # whoever looks in between shall see what was since now, and not since anybody looked last
        self._looks.forget(seen)
        self._looks.system(host)
        self._worker_infos(self._looks, seen)
        self._periods.forget(seen)
        workers = self._worker_infos(self._periods, seen)
        return Sample(
            at=iso(self._store.now()) or "",
            node=self._settings().node,
            boot=self._boot,
            seconds=round(seconds, 3),
            system=self._periods.system(host),
            jobs=jobs_info(len(self._desk.attempts), commands, seconds),
            processes=self._process_infos(seen),
            workers=workers,
            pools=pool_infos(self._pool, workers, commands, seconds),
            commands=command_infos(commands, seconds),
        )

    async def _keep(self, sample: Sample, commands: dict[str, CommandTally], host: Host, now: float) -> None:
        try:
            await self._store_period(sample, commands, host, now)
        except StoreError as error:
            log.warning("figures of a period are not kept", error=error.message)

    async def _store_period(self, sample: Sample, commands: dict[str, CommandTally], host: Host, now: float) -> None:
        stats, node = self._store.stats, self._settings().node
        tell = self._store.shared and now - self._told >= TOLD_EVERY
        if commands or sample.jobs.running or tell:
            stored = Stored(system=sample.system, jobs=sample.jobs, pools=sample.pools, commands=_packed(commands))
            if tell:
                stored.workers, self._told = sample.workers, now
            await stats.keep(self._boot, node, sample.seconds, msgspec.json.encode(stored), coarse=False)
        if now - self._kept >= COARSE:
            minute, seconds = self._minutes.commands(), now - self._kept
            stored = Stored(
                system=self._minutes.system(host),
                jobs=jobs_info(sample.jobs.running, minute, seconds),
                commands=_packed(minute),
            )
            self._kept = now
            await stats.keep(self._boot, node, seconds, msgspec.json.encode(stored), coarse=True)
        if now - self._forgot >= FORGET_EVERY:
            keep = self._settings().stats.keep
            while await stats.forget(min(FINE_KEPT, keep), keep, FORGET_BATCH) >= FORGET_BATCH:
                pass
            self._forgot = now

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self, pids: Iterable[int]) -> tuple[Host, dict[int, Seen]]:
        return await asyncio.to_thread(self._looker.look, list(pids))

    async def _answers(self, seconds: float) -> None:
        """Wait until every resident that was asked has answered, but not for longer."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while any(worker.silent for worker in self._residents()) and loop.time() < end:
            await asyncio.sleep(ANSWER_WITHIN / 4)

    def _residents(self) -> list[Resident]:
        return [worker for worker in self._pool.workers if isinstance(worker, Resident) and worker.takes]

    def _workers(self) -> dict[int, Worker]:
        return {worker.pid: worker for worker in self._pool.workers if worker.pid is not None and not worker.dead}

    def _others(self) -> dict[int, str]:
        zygote = self._pool.zygote
        found = {os.getppid(): "up", os.getpid(): "router"}
        if zygote is not None and zygote.pid is not None:
            found[zygote.pid] = "zygote"
        return found

    def _worker_infos(self, meter: Meter, seen: dict[int, Seen]) -> list[WorkerInfo]:
        return [meter.worker(worker, pid, seen[pid]) for pid, worker in sorted(self._workers().items()) if pid in seen]

    def _process_infos(self, seen: dict[int, Seen]) -> list[ProcessInfo]:
        return [self._periods.process(role, pid, seen[pid]) for pid, role in self._others().items() if pid in seen]


def _packed(commands: dict[str, CommandTally]) -> dict[str, dict[str, Any]]:
    return {name: packed(tally) for name, tally in commands.items()}
