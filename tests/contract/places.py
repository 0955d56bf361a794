"""Where the contract suite opens stores. A new driver is a new :class:`Place` in :data:`PLACES`; no test is touched.

What drivers may differ in is a capability: a test that is about one says so with :func:`needs` and is collected only
for the places that have it, so no test ever asks which driver it runs on.
"""

from __future__ import annotations

import abc
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from stoker.model.clock import FakeClock
from stoker.store.base import Store
from stoker.store.sqlite import SqliteStore

F = TypeVar("F", bound=Callable[..., Any])

ONE_DAEMON = "one-daemon"
"""The store belongs to one daemon at a time, so the running jobs of another owner are lost at once."""


def needs(*capabilities: str) -> Callable[[F], F]:
    """Collect a test only for places with these capabilities."""

    def mark(test: F) -> F:
        test.__dict__["__needs__"] = frozenset(capabilities)
        return test

    return mark


class Place(abc.ABC):
    """One empty store's whereabouts, for one test, and the clock that this store judges time by."""

    capabilities: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._opened: list[Store] = []

    @abc.abstractmethod
    def new(self) -> Store:
        """A store of this place that is not opened yet."""

    @abc.abstractmethod
    def advance(self, seconds: float) -> None:
        """Let time pass for every store of this place."""

    async def open(self) -> Store:
        """Open the store, once more if it is open already: what is kept is the same."""
        store = self.new()
        await store.open()
        self._opened.append(store)
        return store

    async def crash(self) -> Store:
        """The power fails, the next boot opens what is left: everything that was answered, nothing half done."""
        return await self.open()

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class SqlitePlace(Place):
    capabilities = frozenset({ONE_DAEMON})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "stoker.db"
        self.clock = FakeClock()

    def new(self) -> SqliteStore:
        return SqliteStore(self.path, self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def crash(self) -> Store:
        # what is in the files now, taken while the store that wrote them has them open, is what a crash would leave
        image = self.folder / f"after-{len(self._opened)}"
        image.mkdir()
        for file in self.path.parent.glob(f"{self.path.name}*"):
            if not file.name.endswith("-shm"):
                shutil.copy(file, image / file.name)
        await self.close()
        self.path = image / self.path.name
        return await self.open()


PLACES: dict[str, type[Place]] = {"sqlite": SqlitePlace}
