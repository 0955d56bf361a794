"""Hearing that somebody else changed the store: LISTEN on a connection of its own.

A line whose other end went away without a word is noticed by asking something every few seconds; a new connection
listens again, and then says everything once, because nobody knows what came meanwhile. What this daemon's own writer
told is left out: it knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from stoker.model.clock import Clock
from stoker.store.base import Wake
from stoker.store.postgres.session import Session
from stoker.store.postgres.url import Address

log = structlog.get_logger(role="store")

PROBE_EVERY = 5.0
PROBE_TIMEOUT = 3.0
_ERRORS = 1.0
"""Seconds before the next try, should something unheard-of go wrong."""


class Listener:
    """Calls ``on_wake`` at most once a turn of the loop for each reason."""

    def __init__(
        self, address: Address, clock: Clock, on_wake: Callable[[Wake], None], own: Callable[[], int | None]
    ) -> None:
        self._session = Session(address.directly(), "listener", clock)
        self._channels = {f"{address.schema}_{wake}"[:63]: wake for wake in Wake}
        self._on_wake = on_wake
        self._own = own
        self._task: asyncio.Task[None] | None = None
        self._told: set[Wake] = set()
        self._silent = asyncio.Event()
        self.rounds = 0
        """How often it began to listen."""

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run(), name="stoker-listener")

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._session.close()

    async def _run(self) -> None:
        while True:
            try:
                await self._listen()
            except Exception as error:
                log.warning("the listening connection was lost", error=str(error) or type(error).__name__)
                self._session.drop()
                await asyncio.sleep(0 if self._session.up else min(_ERRORS, 0.1 * (self.rounds + 1)))

    async def _listen(self) -> None:
        db = await self._session.db()
        self._silent.clear()
        db.raw.add_termination_listener(self._ended)
        for channel in self._channels:
            await db.raw.add_listener(channel, self._heard)
        self.rounds += 1
        for wake in Wake:
            self._tell(wake)
        while True:
            try:
                async with asyncio.timeout(PROBE_EVERY):
                    await self._silent.wait()
                raise ConnectionError("the server closed it")
            except TimeoutError:
                await db.raw.execute("SELECT 1", timeout=PROBE_TIMEOUT)

    def _ended(self, _connection: Any) -> None:
        self._silent.set()

    def _heard(self, _connection: Any, pid: int, channel: str, _payload: object) -> None:
        if pid != self._own():
            self._tell(self._channels[channel])

    def _tell(self, wake: Wake) -> None:
        """At once, and no second time in this turn: whoever looks because of the first sees what the second is about,
        which was committed before."""
        if wake not in self._told:
            if not self._told:
                asyncio.get_running_loop().call_soon(self._told.clear)
            self._told.add(wake)
            self._on_wake(wake)
