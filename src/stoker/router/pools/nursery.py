"""Zygotes are born here, replaced when they die, and buried: a fleet of one, and of two while a reload goes over."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from stoker.model.errors import AppError
from stoker.model.quantities import show_seconds
from stoker.router.pools.pool import Pool
from stoker.router.pools.zygotes import Zygote
from stoker.run import process
from stoker.settings import Current

log = structlog.get_logger(role="router")

STRAY_ROUNDS = 100
PAUSES = (0.0, 0.2, 1.0, 5.0, 15.0)
"""Seconds before a new zygote is tried, the first time, the second …; the last for ever."""


class Nursery:
    """Keeps one zygote alive until :meth:`leave`. ``on_change`` is called when what can be forked may have changed."""

    def __init__(self, settings: Current, pool: Pool, on_change: Callable[[], None]) -> None:
        self._settings = settings
        self._pool = pool
        self._on_change = on_change
        self._living: set[Zygote] = set()
        self._unburied: set[Zygote] = set()
        self._burials: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._one_at_a_time = asyncio.Lock()

    async def new(self) -> None:
        """Fork from now on from a zygote that has loaded the application anew; the one before ends when its jobs have.

        Raises :class:`AppError` when the application cannot be loaded: then the one before stays.
        """
        async with self._one_at_a_time:
            await self._new()

    async def _new(self) -> None:
        zygote = Zygote(self._settings(), self._said, self._gone)
        self._living.add(zygote)
        self._unburied.add(zygote)
        try:
            announce = await zygote.start()
            await self._pool.prepare(zygote, announce)
        except BaseException:
            zygote.stop()
            self._living.discard(zygote)
            self._pool.lost(zygote)
            await zygote.gone()
            self._unburied.discard(zygote)
            raise
        self._pool.adopt(zygote, announce)
        self._on_change()
        log.info(
            "application loaded", pid=zygote.pid, commands=len(announce.commands), modules=announce.modules,
            took=show_seconds(announce.seconds),
        )  # fmt: skip

    def leave(self) -> None:
        """Replace none any more; those that live go on."""
        self._leaving = True

    def stop(self) -> None:
        """End them all."""
        for zygote in list(self._living):
            zygote.stop()

    async def close(self) -> None:
        """Let go of those that were being buried."""
        for task in list(self._burials):
            task.cancel()
        await asyncio.gather(*self._burials, return_exceptions=True)

    def _said(self, zygote: Zygote, frame: Any) -> None:
        self._pool.frame(frame)
        self._on_change()

    def _gone(self, zygote: Zygote) -> None:
        self._living.discard(zygote)
        self._pool.lost(zygote)
        self._on_change()
        task = asyncio.get_running_loop().create_task(self._bury(zygote))
        self._burials.add(task)
        task.add_done_callback(self._burials.discard)

    async def _bury(self, zygote: Zygote) -> None:
        status = await zygote.gone()
        self._unburied.discard(zygote)
        await self._clear_away()
        if zygote.retiring or self._leaving or self._pool.zygote is not None:
            return
        log.error("the zygote died; starting another", pid=zygote.pid, how=process.ending(status))
        for number in range(1_000_000):
            await asyncio.sleep(PAUSES[min(number, len(PAUSES) - 1)])
            try:
                async with self._one_at_a_time:
                    if self._pool.zygote is not None or self._leaving:
                        return
                    await self._new()
            except AppError as error:
                log.error("the application cannot be loaded", error=error.message)

    async def _clear_away(self) -> None:
        """A zygote that was killed could not see to what its jobs had started: it has fallen to us."""
        for _ in range(STRAY_ROUNDS):
            if not process.clear_strays(zygote.pid for zygote in self._unburied):
                return
            await asyncio.sleep(0.02)
