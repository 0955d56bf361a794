"""Where the contract suite opens stores. A new driver is a new :class:`Place` in :data:`PLACES`; no test is touched.

What drivers may differ in is a capability: a test that is about one says so with :func:`needs` and is collected only
for the places that have it, so no test ever asks which driver it runs on.
"""

from __future__ import annotations

import abc
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import psycopg

from stoker.model.clock import FakeClock
from stoker.store.base import Store
from stoker.store.postgres import PostgresStore
from stoker.store.sqlite import SqliteStore
from tests.postgres import server

F = TypeVar("F", bound=Callable[..., Any])

ONE_DAEMON = "one-daemon"
"""The store belongs to one daemon at a time, so the running jobs of another owner are lost at once."""

SHARED = "shared"
"""Several daemons may work on the store at one time."""
ANY_TEXT = "any-text"
"""Texts may contain the character NUL."""


def needs(*capabilities: str) -> Callable[[F], F]:
    """Collect a test only for places with these capabilities."""

    def mark(test: F) -> F:
        test.__dict__["__needs__"] = frozenset(capabilities)
        return test

    return mark


class Place(abc.ABC):
    """One empty store's whereabouts, for one test, and the clock that this store judges time by."""

    capabilities: ClassVar[frozenset[str]] = frozenset()
    slack: ClassVar[float] = 0.0
    """How many seconds longer than asked what has ended may be kept; then several bites may go as one."""
    effort: ClassVar[int] = 1
    """How many times longer than on a file in memory a step takes: by so much a long test is shortened."""

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

    @abc.abstractmethod
    async def beside(self) -> Store:
        """Another, empty store under the same clock, open."""

    async def crash(self) -> Store:
        """The power fails, the next boot opens what is left: everything that was answered, nothing half done."""
        return await self.open()

    async def close(self) -> None:
        for store in self._opened:
            await store.close()


class SqlitePlace(Place):
    capabilities = frozenset({ONE_DAEMON, ANY_TEXT})

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = folder / "stoker.db"
        self.clock = FakeClock()

    def new(self) -> SqliteStore:
        return SqliteStore(self.path, self.clock)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def beside(self) -> Store:
        store = SqliteStore(self.folder / "beside.db", self.clock)
        await store.open()
        self._opened.append(store)
        return store

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


class PostgresPlace(Place):
    """A schema of its own on the one server of the run, whose clock is a row in a table."""

    capabilities = frozenset({SHARED})
    slack = 86400.0
    effort = 5

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.schema = f"t_{os.urandom(6).hex()}"
        self.clock = FakeClock()
        self._start = self.clock.wall()
        self._beside: PostgresPlace | None = None
        self.admin = psycopg.connect(server().socket_url, autocommit=True)

    @property
    def url(self) -> str:
        return server().dsn(schema=self.schema, application_name=self.schema)

    def new(self) -> PostgresStore:
        return PostgresStore(self.url, self.clock)

    def keep(self, store: Store) -> None:
        """Close it with the others."""
        self._opened.append(store)

    def sql(self, text: str) -> list[Any]:
        """Run SQL as somebody else; ``{}`` stands for the schema."""
        cursor = self.admin.execute(text.replace("{}", self.schema).encode())
        return cursor.fetchall() if cursor.description else []

    async def open(self) -> Store:
        if not self._opened:
            first = self.new()
            await first.open()
            await first.close()
            self.sql("CREATE TABLE {}.clock (now timestamptz)")
            self.sql(f"INSERT INTO {{}}.clock VALUES (to_timestamp({self.clock.wall()!r}))")
            self.sql(
                "CREATE OR REPLACE FUNCTION {}.now() RETURNS timestamptz LANGUAGE sql VOLATILE "
                "AS $$ SELECT now FROM {}.clock $$"
            )
            self.sql("SELECT {}.make_days()")
        return await super().open()

    async def beside(self) -> Store:
        self._beside = PostgresPlace(self.folder)
        self._beside.clock = self.clock
        return await self._beside.open()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.sql(f"UPDATE {{}}.clock SET now = to_timestamp({self._start + self.clock.mono()!r})")
        if self._beside is not None:
            self._beside.sql(f"UPDATE {{}}.clock SET now = to_timestamp({self._start + self.clock.mono()!r})")

    def cut(self) -> None:
        """End all sessions of this place's stores on the server."""
        self.sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE '{}/%'")

    async def crash(self) -> Store:
        self.cut()
        return await self.open()

    async def close(self) -> None:
        if self._beside is not None:
            await self._beside.close()
        await super().close()
        self.sql("DROP SCHEMA IF EXISTS {} CASCADE")
        self.admin.close()


PLACES: dict[str, type[Place]] = {"sqlite": SqlitePlace, "postgres": PostgresPlace}
