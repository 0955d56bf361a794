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
import types
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

from stoker.model.clock import Clock, SystemClock
from stoker.model.errors import AppError, SettingsError
from stoker.model.ids import new_boot_id
from stoker.router import building
from stoker.router.clients.reception import Reception
from stoker.router.switchboard import Switchboard
from stoker.settings import Current, Settings
from stoker.store.base import Store

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
        self._board = Switchboard()
        self.house = building.build(
            settings, store, clock or SystemClock(), boot or new_boot_id(), before, self._board, self
        )
        self._reception = Reception(self.house)
        self._leave = asyncio.Event()
        self._hurry = asyncio.Event()
        self._restart = False
        self._reloading = asyncio.Lock()

    async def start(self, listeners: list[socket.socket]) -> None:
        """Open the store, load the application, mend what the last daemon left, then listen and work.

        Raises :class:`AppError`, :class:`SettingsError` or a StoreError when it cannot begin.
        """
        house = self.house
        if not await self._unless_leaving(house.store.open(math.inf)):
            return
        house.claimer.paused = await house.store.pauses()
        book = await house.schedules.read()
        await house.member.beat()
        if not await self._unless_leaving(house.nursery.new()):
            return
        await house.roles.start()
        house.dispatcher.open()
        house.dispatcher.look_soon()
        await house.keeper.reap()
        await house.desk.settled()
        await self._reception.open(listeners)
        await house.schedules.adopt(book)
        house.monitors.look()
        house.keeper.start()
        house.sampler.start()
        house.claimer.wake()
        now = self.settings()
        log.info(
            "ready",
            node=now.node,
            boot=house.boot,
            commands=len(house.pool.commands),
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
        """Leave when what runs has ended; asked again: leave now. Where it leaves already to start again, this is the
        first time: it does not start again, and what runs keeps the rest of the grace that it was given."""
        if self._leave.is_set() and not self._restart:
            self._hurry.set()
        self._restart = False
        self._leave.set()

    def ask_restart(self) -> None:
        """Leave, and start again; not where it was asked to leave for good."""
        self._restart = self._restart or not self._leave.is_set()
        self._leave.set()

    async def reload(self, changed: Mapping[str, Any] = types.MappingProxyType({})) -> None:
        """Fork from freshly loaded code, under the settings as they are now, with these changed until the next start.
        What cannot be loaded leaves the old in force and raises :class:`AppError` or :class:`SettingsError`."""
        house = self.house
        async with self._reloading:
            before, kept = self.settings.read, self.settings.changed
            try:
                self.settings.change({**kept, **changed})
                if self._reread is not None:
                    for name in self.settings.replace(self._reread()):
                        log.warning("this setting needs a restart", setting=name)
                book = await house.schedules.read()
                await house.nursery.new()
                house.roles.wake()
                await house.schedules.adopt(book)
            except (AppError, SettingsError) as error:
                self.settings.change(kept)
                self.settings.replace(before)
                log.error("reload failed; the old code stays in force", error=error.message)
                raise
            log.info("reloaded", commands=len(house.pool.commands))

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

    async def _drain(self) -> None:
        house = self.house
        grace = self.settings().grace or (RESTART_GRACE if self._restart else 0.0)
        log.info("stopping", running=len(house.desk.attempts), grace=grace or "until they end")
        if not self._restart:
            self._reception.close()
            house.roles.drain()
        house.nursery.leave()
        house.schedules.stop()
        house.monitors.stop()
        await house.claimer.stop()
        house.dispatcher.leave()
        await self._wait_idle(grace)
        # a restart takes requests until here: left in the backlog, a client would take the wait for silence
        self._reception.close()
        house.desk.give_back()
        house.pool.release_all()
        await self._until(lambda: not house.desk.attempts and not house.pool.lingers, 2.0)
        house.nursery.stop()
        await self._until(lambda: not house.desk.busy, None, self._hurry)
        await house.schedules.stopped()
        await house.monitors.stopped()
        await house.roles.stop(comes_back=self._restart)
        await house.keeper.stop()
        await house.sampler.stop()
        # answers that are ready go out before the lines are closed
        await self._until(lambda: not self._reception.waiting, 1.0)
        await self._reception.dismiss()
        await house.nursery.close()
        house.audience.stop()
        house.hub.stop()
        house.dispatcher.close()
        await self._board.stop()
        await house.store.close()
        log.info("stopped")

    async def _wait_idle(self, grace: float) -> None:
        """Until nothing runs, the grace is over, or somebody is in a hurry."""
        await self._until(lambda: not self._board.busy, grace or None, self._hurry)

    async def _until(self, done: Callable[[], bool], seconds: float | None, hurry: asyncio.Event | None = None) -> None:
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while not done() and not (hurry is not None and hurry.is_set()):
            left = 0.2 if end is None else min(0.2, end - loop.time())
            if left <= 0:
                return
            self._board.idle.clear()
            waits = [loop.create_task(event.wait()) for event in (self._board.idle, hurry) if event is not None]
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
