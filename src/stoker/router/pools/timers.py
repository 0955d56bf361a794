"""Things to do later, each at most once at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Timers:
    """By name; none is done after :meth:`close`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closed = False

    def once(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        """Do this so many seconds from now, unless it is to be done already; infinity is never."""
        if name in self._timers or seconds == float("inf") or self._closed:
            return

        def due() -> None:
            del self._timers[name]
            action()

        self._timers[name] = self._loop.call_later(seconds, due)

    def cancel(self, name: str) -> None:
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        self._closed = True
        for name in list(self._timers):
            self.cancel(name)
