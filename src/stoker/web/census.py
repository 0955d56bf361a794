"""How many streams are open here, as the daemon's figures have it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from stoker.model.errors import StokerError
from stoker.web.link import Link

EVERY = 0.2
"""Seconds between two words about it at least."""


class Census:
    """Tells the daemon when it changed. ``count`` gives how many there are, and how many there may be."""

    def __init__(self, link: Link, count: Callable[[], tuple[int, int]]) -> None:
        self._link = link
        self._count = count
        self._changed = False
        self._task: asyncio.Task[None] | None = None

    def changed(self) -> None:
        """Tell it soon: there are more or fewer than before, or a daemon that does not know."""
        self._changed = True
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._tell())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _tell(self) -> None:
        while self._changed:
            self._changed = False
            streams, most = self._count()
            with contextlib.suppress(StokerError):  # the next connection is told anew
                await self._link.ask("streams", {"open": streams, "max": most})
            await asyncio.sleep(EVERY)
