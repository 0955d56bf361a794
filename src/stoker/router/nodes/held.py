"""What this node holds at this moment, and that it stops when the trust in that is over."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import structlog

from stoker.model.clock import Clock
from stoker.model.role import Holding

log = structlog.get_logger(role="router")


class Held(NamedTuple):
    """A role that is ours in this term, until that moment on the monotonic clock."""

    term: int
    until: float


class Holdings:
    """Roles and their terms, while they are trusted. ``on_late`` is called with what could not be renewed in time."""

    def __init__(self, clock: Clock, on_late: Callable[[list[str]], None]) -> None:
        self._clock = clock
        self._on_late = on_late
        self._held: dict[str, Held] = {}
        self._doubt: asyncio.TimerHandle | None = None
        self._callbacks: list[Callable[[frozenset[str]], None]] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    @property
    def terms(self) -> dict[str, int]:
        """What is held, trusted or about to be dropped, with its terms."""
        return {name: held.term for name, held in self._held.items()}

    @property
    def all(self) -> list[Holding]:
        return [Holding(name, held.term) for name, held in self._held.items()]

    def trusted(self) -> frozenset[str]:
        """The roles that are ours at this very moment."""
        now = self._clock.mono()
        return frozenset(name for name, held in self._held.items() if held.until > now)

    def term(self, role: str) -> int | None:
        """The term in which a role is ours."""
        held = self._held.get(role)
        return held.term if held is not None and held.until > self._clock.mono() else None

    def keep(self, name: str, term: int, until: float) -> None:
        """It is ours, until then."""
        self._held[name] = Held(term, until)
        self._doubt_in_time()

    def drop(self, names: Iterable[str]) -> list[Holding]:
        """Act in these roles no more; what they were."""
        gone = [Holding(name, self._held.pop(name).term) for name in list(names) if name in self._held]
        if gone:
            self.tell()
        return gone

    def on_change(self, callback: Callable[[frozenset[str]], None]) -> None:
        self._callbacks.append(callback)

    def tell(self) -> bool:
        """Say what is held; whether everybody can serve it."""
        mine, well = self.trusted(), True
        for callback in self._callbacks:
            try:
                callback(mine)
            except Exception as error:
                log.error("what belongs to a role cannot start", error=f"{type(error).__name__}: {error}")
                well = False
        return well

    def close(self) -> None:
        if self._doubt is not None:
            self._doubt.cancel()

    def _doubt_in_time(self) -> None:
        """Look again when the first trust runs out."""
        self.close()
        first = min((held.until for held in self._held.values()), default=math.inf)
        if first < math.inf:
            pause = max(0.0, first - self._clock.mono())
            self._doubt = asyncio.get_running_loop().call_later(pause, self.check)

    def check(self) -> None:
        """Give up what is trusted no more. Happens by itself; a look begins with it, for it must not renew that."""
        now = self._clock.mono()
        late = [name for name, held in self._held.items() if held.until <= now]
        if late:
            self._on_late(late)
        self._doubt_in_time()
