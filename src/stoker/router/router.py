"""The router: the one process that claims and settles. Here its parts are put together, started, and stopped in order.

    clients ──► connection ──► methods ──► admission ──► store ◄── claimer ──► desk ──► pool ──► zygote
                                                           ▲                    │         ▲
                                                           └──────── settle ────┘         └── keeper looks after all

Stopping has an order too: listen no more, claim no more, let what runs come to its end (or give it back when the grace
time is over), write it, and only then let go of the store.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
import structlog

from stoker.model.clock import Clock, SystemClock
from stoker.model.errors import AppError, SettingsError, StokerError
from stoker.model.ids import new_boot_id
from stoker.model.job import Claimed, State
from stoker.model.outcome import Outcome
from stoker.model.stats import Sample
from stoker.router import methods
from stoker.router.admission import Admission
from stoker.router.attempt import Attempt, End
from stoker.router.audience import Audience
from stoker.router.claimer import Claimer
from stoker.router.connection import Connection
from stoker.router.desk import Desk
from stoker.router.dispatch import Dispatcher
from stoker.router.endings import Closed
from stoker.router.figures import Figures
from stoker.router.house import House
from stoker.router.hub import Hub
from stoker.router.hub_pulse import JOBS, STATS
from stoker.router.keeper import Keeper
from stoker.router.member import Member
from stoker.router.monitors import Monitors
from stoker.router.nursery import Nursery
from stoker.router.pool import Pool
from stoker.router.roles import Roles
from stoker.router.roles_hooks import Hooks
from stoker.router.sampler import Sampler
from stoker.router.schedules import Schedules
from stoker.router.tally import Tally
from stoker.router.trust import Trust
from stoker.settings import Current, Settings
from stoker.store.base import Store
from stoker.wire.frames import DIRECT, Answer, Ask
from stoker.wire.transport import Acceptor

log = structlog.get_logger(role="router")

RESTART_GRACE = 30.0
"""Seconds a restart waits for running jobs when no grace time is set; what still runs then is given back."""


class Router:
    """One daemon's heart. ``run`` is its whole life; True from it means: start me again."""

    def __init__(
        self,
        settings: Current,
        store: Store,
        reread: Callable[[], Settings] | None = None,
        clock: Clock | None = None,
        boot: str | None = None,
        before: str | None = None,
    ) -> None:
        self.settings = settings
        self._reread = reread
        self.store = store
        self.clock = clock or SystemClock()
        self.boot = boot or new_boot_id()
        self.tally = Tally()
        self.audience = Audience(store)
        self.hub = Hub(store)
        self.desk = Desk(store, settings, self.clock, self.audience, self.tally, self._asked, self._room, self._written)
        self.pool = Pool(settings, self.clock, self._said, self._lost, self._room)
        self.desk.pool = self.pool
        self.claimer = Claimer(store, self.pool, settings, self.clock, self.boot, self._claimed)
        self.member = Member(store, settings, self.clock, self.boot, self.desk, self.claimer, self.audience)
        self.member.on_news, self.member.on_messages = self.hub.pulses.elsewhere, self.hub.wake
        self.roles = Roles(
            settings, store, self.clock, self.boot, self.desk, self.claimer,
            Hooks(lambda: self.pool.commands, store.now, lambda new: methods.stored(self.house, new)), before,
        )  # fmt: skip
        self.desk.gate, self.claimer.roles, self.member.on_orders = self.roles.gate, self.roles, self.roles.wake
        self.keeper = Keeper(
            store, settings, self.boot, self.pool, self.desk, self.claimer, self.audience, self.hub, self.member
        )
        self.admission = Admission(lambda: self.pool.commands, settings)
        self.dispatcher = Dispatcher(settings, self.clock, self.pool, self.admission, self._asked)
        self.dispatcher.on_ended = self._dispatched
        self.pool.first = self.dispatcher.serve
        self.nursery = Nursery(settings, self.pool, self.dispatcher.look_soon)
        self.schedules = Schedules(
            settings, store, self.pool, self.admission, self.roles, self.claimer.wake,
            lambda job, reason: methods.cancel(self.house, "job", methods.Cancel(job, reason)), self.nursery.new,
        )  # fmt: skip
        self.monitors = Monitors(
            settings, store, self.schedules, lambda: self.pool.commands,
            lambda new: methods.stored(self.house, new), self.hub.push,
        )  # fmt: skip
        self.keeper.on_look = self._look
        self.figures = Figures(
            settings, store, self.clock, self.boot, self.pool, self.desk, self.claimer, self.tally, self.dispatcher
        )  # fmt: skip
        self.sampler = Sampler(
            settings, store, self.clock, self.boot, self.pool, self.desk, self.tally, self._sampled
        )  # fmt: skip
        self.house = House(
            settings,
            self.boot,
            store,
            self.pool,
            self.desk,
            self.claimer,
            self.keeper,
            self.member,
            self.roles,
            self.schedules,
            self.monitors,
            self.audience,
            self.hub,
            self.admission,
            self.figures,
            self.sampler,
            self.dispatcher,
            self.tally,
            reload=self.reload,
            restart=self.ask_restart,
            stop=self.ask_stop,
        )
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server | Acceptor] = []
        self._asks: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._leave = asyncio.Event()
        self._hurry = asyncio.Event()
        self._restart = False
        self._reloading = asyncio.Lock()

    async def start(self, listeners: list[socket.socket]) -> None:
        """Open the store, load the application, mend what the last daemon left, then listen and work.

        Raises :class:`AppError`, :class:`SettingsError` or a StoreError when it cannot begin.
        """
        if not await self._unless_leaving(self.store.open(math.inf)):
            return
        self.claimer.paused = await self.store.pauses()
        book = await self.schedules.read()
        await self.member.beat()
        if not await self._unless_leaving(self.nursery.new()):
            return
        await self.roles.start()
        self.dispatcher.open()
        self.dispatcher.look_soon()
        await self.keeper.reap()
        await self.desk.settled()
        loop = asyncio.get_running_loop()
        for listener in listeners:
            listener.setblocking(False)
            self._servers.append(await _serve(loop, self, listener))
        await self.schedules.adopt(book)
        self.monitors.look()
        self.keeper.start()
        self.sampler.start()
        self.claimer.wake()
        now = self.settings()
        log.info(
            "ready",
            node=now.node,
            boot=self.boot,
            commands=len(self.pool.commands),
            socket=now.socket,
            store=now.store_shown,
            slots=now.max_tasks or now.consumers_max,
        )

    async def run(self) -> bool:
        """Work until asked to leave; leave in order. Whether a restart was asked for."""
        await self._leave.wait()
        await self._drain()
        return self._restart

    def ask_stop(self) -> None:
        """Leave when what runs has ended; asked again: leave now."""
        if self._leave.is_set():
            self._hurry.set()
        self._leave.set()

    def ask_restart(self) -> None:
        self._restart = True
        self._leave.set()

    async def reload(self) -> None:
        """Fork from freshly loaded code, under the settings as they are now. What cannot be loaded leaves the old in
        force and raises :class:`AppError` or :class:`SettingsError`."""
        async with self._reloading:
            before = self.settings()
            try:
                if self._reread is not None:
                    for name in self.settings.replace(self._reread()):
                        log.warning("this setting needs a restart", setting=name)
                book = await self.schedules.read()
                await self.nursery.new()
                self.roles.wake()
                await self.schedules.adopt(book)
            except (AppError, SettingsError) as error:
                self.settings.replace(before)
                log.error("reload failed; the old code stays in force", error=error.message)
                raise
            log.info("reloaded", commands=len(self.pool.commands))

    # ── clients ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def welcome(self, connection: Connection) -> bool:
        """Let a client in if there is room."""
        self._connections.add(connection)
        return len(self._connections) <= self.settings().max_clients

    def introduced(self, connection: Connection, role: str) -> None:
        self.figures.clients[role] = self.figures.clients.get(role, 0) + 1

    def farewell(self, connection: Connection, role: str | None) -> None:
        self._connections.discard(connection)
        if role is not None:
            self.figures.clients[role] -= 1

    async def _unless_leaving(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do what may take as long as it likes (a server that is not there yet, an application that loads); False when
        asked to leave before it was done."""
        doing = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait({doing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.gather(doing, return_exceptions=True)
            return False
        await doing
        return True

    # ── what happens in between ──────────────────────────────────────────────────────────────────────────────────────

    def _said(self, frames: list[Any]) -> None:
        """A process says something: of stored jobs, or of dispatched ones."""
        direct = [frame for frame in frames if frame.run >= DIRECT]
        self.dispatcher.frames(direct)
        self.desk.frames([frame for frame in frames if frame.run < DIRECT] if direct else frames)

    def _lost(self, attempt: Attempt, outcome: Outcome) -> None:
        """The process of an attempt died."""
        if attempt.run >= DIRECT:
            self.dispatcher.end(attempt, outcome)
        else:
            self.desk.end([End(attempt, outcome)])

    def _claimed(self, jobs: list[Claimed], trust: Trust) -> None:
        """Jobs are ours to run."""
        self.desk.begin(self.monitors.filled(self.schedules.ticker.filled(jobs)), trust)
        self.monitors.begun(jobs)
        if self.hub.pulses.wanted(JOBS):
            for job in jobs:
                self.hub.pulses.job(job.id, State.RUNNING, job.command, job.user)

    def _look(self) -> None:
        """The daemon looks after itself."""
        self.schedules.look()
        self.monitors.look()

    def _room(self) -> None:
        """A slot came free, or a worker."""
        self.dispatcher.look_soon()
        self.claimer.room()

    def _written(self, batch: list[Closed]) -> None:
        """Endings are in the store."""
        for job, ending, _ in batch:
            if ending.run_at is not None:
                self.keeper.due_at(ending.run_at)
            if ending.run_at is not None or job.key is not None:
                self.claimer.wake()
        self.monitors.ended(batch)
        if self.hub.pulses.wanted(JOBS):
            for job, ending, _ in batch:
                self.hub.pulses.job(job.id, ending.state, job.command, job.user)
        if not self._busy:
            self._idle.set()

    def _dispatched(self, attempt: Attempt, outcome: Outcome) -> None:
        """A dispatched job has ended."""
        self.tally.ended(attempt, outcome, self.clock.mono())

    def _sampled(self, sample: Sample) -> None:
        """There are new figures."""
        self.figures.latest = sample
        if self.hub.pulses.wanted(STATS):
            self.hub.pulse(STATS, STATS, sample)

    def _asked(self, attempt: Attempt, ask: Ask) -> None:
        self._spawn(self._answer(attempt, ask))

    async def _answer(self, attempt: Attempt, ask: Ask) -> None:
        """A job asks on behalf of its user, with the rights of a job."""
        try:
            value = await methods.answer(self.house, "job", ask.method, msgspec.Raw(ask.params), None)
            answer = Answer(ask.run, ask.ask, msgspec.json.encode(value), None)
        except StokerError as error:
            answer = Answer(ask.run, ask.ask, msgspec.json.encode(error.message), error.code)
        worker = attempt.place
        if worker is not None and not attempt.ended:
            worker.send(answer)

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    # ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _drain(self) -> None:
        grace = self.settings().grace or (RESTART_GRACE if self._restart else 0.0)
        log.info("stopping", running=len(self.desk.attempts), grace=grace or "until they end")
        if not self._restart:
            self._close_servers()
            self.roles.drain()
        self.nursery.leave()
        self.schedules.stop()
        self.monitors.stop()
        await self.claimer.stop()
        self.dispatcher.leave()
        await self._wait_idle(grace)
        # a restart takes requests until here: left in the backlog, a client would take the wait for silence
        self._close_servers()
        self.desk.give_back()
        self.pool.release_all()
        await self._until(lambda: not self.desk.attempts and not self.pool.lingers, 2.0)
        self.nursery.stop()
        await self._until(lambda: not self.desk.busy, None, self._hurry)
        await self.schedules.stopped()
        await self.monitors.stopped()
        await self.roles.stop(comes_back=self._restart)
        await self.keeper.stop()
        await self.sampler.stop()
        await self._farewells()
        await self.nursery.close()
        self.audience.stop()
        self.hub.stop()
        self.dispatcher.close()
        for task in list(self._asks):
            task.cancel()
        await asyncio.gather(*self._asks, return_exceptions=True)
        await self.store.close()
        log.info("stopped")

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()

    async def _wait_idle(self, grace: float) -> None:
        """Until nothing runs, the grace is over, or somebody is in a hurry."""
        await self._until(lambda: not self._busy, grace or None, self._hurry)

    @property
    def _busy(self) -> bool:
        """Whether anything runs here or is being written."""
        return self.desk.busy or self.dispatcher.busy

    async def _until(self, done: Any, seconds: float | None, hurry: asyncio.Event | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while not done() and not (hurry is not None and hurry.is_set()):
            left = 0.2 if end is None else min(0.2, end - loop.time())
            if left <= 0:
                return
            self._idle.clear()
            waits = [loop.create_task(event.wait()) for event in (self._idle, hurry) if event is not None]
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()

    async def _farewells(self) -> None:
        """Answers that are ready go out before the lines are closed."""
        await self._until(lambda: not any(connection.waiting for connection in self._connections), 1.0)
        for connection in list(self._connections):
            connection.close()
        for server in self._servers:
            await server.wait_closed()


async def _serve(loop: asyncio.AbstractEventLoop, router: Router, listener: socket.socket) -> asyncio.Server | Acceptor:
    if listener.family == socket.AF_UNIX:
        return Acceptor(loop, listener, lambda: Connection(router.house, router))
    return await loop.create_server(lambda: Connection(router.house, router), sock=listener)
