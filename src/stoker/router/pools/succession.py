"""A reload: the workers of the application that was loaded anew are made before they take the place of the others.

before   ── take jobs and dispatches ──────────────────────────────────────────┐
                                                                               ▼
anew     ── start hooks ── in each pool one is ready, or could not start ──► take over
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from stoker.model.errors import AppError
from stoker.router.pools.residents import Residents
from stoker.router.pools.zygotes import Zygote


class Succession:
    """The residents of a zygote that is to take over; they are given nothing yet. ``awaited`` are those whose
    predecessors work."""

    def __init__(self, zygote: Zygote, residents: Mapping[str, Residents], awaited: Iterable[Residents]) -> None:
        self.zygote = zygote
        self.residents = dict(residents)
        self._awaited = list(awaited)
        self._over = asyncio.Event()
        self._abandoned = False
        for one in self._awaited:
            one.on_tried = self._look
        self._look()

    @property
    def waits_for(self) -> list[str]:
        """The pools of which nobody is ready yet."""
        return [] if self._over.is_set() else sorted(one.name for one in self._awaited if not one.tried)

    async def ready(self) -> None:
        """Wait until they can take over. Raises :class:`AppError` when they never will."""
        await self._over.wait()
        if self._abandoned:
            raise AppError("the zygote ended while the first workers of the application were made")

    def hurry(self) -> None:
        """Nobody works any more: there is nothing to wait for."""
        self._over.set()

    def abandon(self) -> None:
        """They do not take over."""
        self._abandoned = True
        for one in self.residents.values():
            one.close()
        self._over.set()

    def _look(self) -> None:
        if all(one.tried for one in self._awaited):
            self._over.set()
