"""A connection that opens itself again, for ever, and in which no call waits without end.

Both ends watch the line: keepalives and ``tcp_user_timeout`` here and on the server, a time-out for every connect and
every statement here, and time-outs on the server for a statement, for a lock, and for a transaction that was forgotten.
With a transaction pooler in between nothing is kept in a session, so those of the server are set in each transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import asyncpg
import structlog

from stoker.model.clock import Clock
from stoker.model.errors import StokerError, StoreError, StoreUnavailable
from stoker.store.postgres import rows
from stoker.store.postgres.errors import Trouble, translated, trouble
from stoker.store.postgres.statements import named
from stoker.store.postgres.url import Address

log = structlog.get_logger(role="store")

COMMAND_TIMEOUT = 30.0
BACKOFF = 0.1
BACKOFF_MAX = 2.5
KEEPALIVE = {"idle": 5, "interval": 2, "count": 3}
"""A dead line is noticed after about ten seconds."""
USER_TIMEOUT_MS = 10_000
LIMITS = {"statement_timeout": "30s", "lock_timeout": "10s", "idle_in_transaction_session_timeout": "30s"}
BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
BEGIN_POOLED = "; ".join([BEGIN, *(f"SET LOCAL {name} = '{value}'" for name, value in LIMITS.items())])

Connection: TypeAlias = "asyncpg.Connection[Any]"
Row: TypeAlias = asyncpg.Record


class Db:
    """One open connection, by named statements."""

    def __init__(self, connection: Connection, address: Address) -> None:
        self.raw = connection
        self.sql = named(address.schema)
        self._pooled = address.pooled

    async def all(self, name: str, *values: Any) -> list[Row]:
        """Run a named statement; its rows."""
        return await self.raw.fetch(self.sql[name], *values)

    async def query(self, sql: str, values: Sequence[Any]) -> list[Row]:
        return await self.raw.fetch(sql, *values)

    async def one(self, name: str, *values: Any) -> Row | None:
        return await self.raw.fetchrow(self.sql[name], *values)

    async def value(self, name: str, *values: Any) -> Any:
        return await self.raw.fetchval(self.sql[name], *values)

    @contextlib.asynccontextmanager
    async def transaction(self, committing: Callable[[], None] | None = None) -> AsyncIterator[None]:
        """All or nothing. ``committing`` is called when only the server knows how it ends, until it answers."""
        await self.raw.execute(BEGIN_POOLED if self._pooled else BEGIN)
        try:
            yield
        except BaseException:
            if not self.raw.is_closed() and self.raw.is_in_transaction():
                await self.raw.execute("ROLLBACK")
            raise
        if committing is not None:
            committing()
        await self.raw.execute("COMMIT")

    @contextlib.asynccontextmanager
    async def together(self) -> AsyncIterator[None]:
        """All or nothing, within the transaction there is or in one of its own."""
        if self.raw.is_in_transaction():
            yield
            return
        async with self.transaction():
            yield


class Session:
    """One connection at a time, made anew when it is lost. ``role`` is how the server sees it, ``after`` is done with
    every new one. ``aloud`` is whether its tries are told in the log."""

    def __init__(
        self,
        address: Address,
        role: str,
        clock: Clock,
        after: Callable[[Db], Awaitable[None]] | None = None,
        *,
        aloud: bool = True,
    ) -> None:
        self.address = address
        self.role = role
        self._clock = clock
        self._after = after
        self.aloud = aloud
        self._db: Db | None = None
        self._pid = os.getpid()
        self.failure: StokerError | None = None
        """Why there is no connection, while one is tried for."""

    @property
    def up(self) -> bool:
        return self._db is not None and not self._db.raw.is_closed()

    async def db(self, patience: float | None = None) -> Db:
        """The open connection; a new one is tried for until there is one, or for ``patience`` seconds. Raises
        :class:`StoreError`, at once for what no patience mends."""
        self.check_process()
        if self._db is not None and not self._db.raw.is_closed():
            return self._db
        self.drop()
        end = None if patience is None else self._clock.mono() + patience
        tries = 0
        while True:
            try:
                self._db = await self._connected()
                break
            except Exception as error:
                failure = self.failure = translated(error, self.address)
                if end is not None and (trouble(error) is not Trouble.LOST or self._clock.mono() >= end):
                    raise failure from None
            tries += 1
            if self.aloud:
                log.warning(f"Connection retry {tries}...", session=self.role, error=failure.message)
            # full jitter: many daemons must not come back in one moment
            pause = random.uniform(0, min(BACKOFF_MAX, BACKOFF * 2 ** min(tries, 16)))
            await asyncio.sleep(pause if end is None else min(pause, max(0.0, end - self._clock.mono())))
        self.failure = None
        if tries and self.aloud:
            log.info("Connected successfully", session=self.role, tries=tries)
        return self._db

    async def _connected(self) -> Db:
        address = self.address
        settings = {"application_name": f"{address.name}/{self.role}"}
        if not address.pooled:
            settings |= LIMITS | {"default_transaction_isolation": "read committed", "jit": "off"}
            settings |= {f"tcp_keepalives_{name}": str(value) for name, value in KEEPALIVE.items()}
            settings["tcp_user_timeout"] = str(USER_TIMEOUT_MS)
        async with asyncio.timeout(address.connect_timeout * (address.hosts + 1)):
            connection = await asyncpg.connect(
                address.dsn,
                timeout=address.connect_timeout,
                command_timeout=COMMAND_TIMEOUT,
                statement_cache_size=0 if address.pooled else 200,
                max_cached_statement_lifetime=0,
                server_settings=settings,
                **address.options(),
            )
            try:
                _watch(connection)
                await rows.teach(connection)
                db = Db(connection, address)
                if self._after is not None:
                    await self._after(db)
            except BaseException:
                connection.terminate()
                raise
        return db

    def drop(self) -> None:
        """Let go of a connection that is of no use any more, without a word to the server."""
        db, self._db = self._db, None
        if db is not None and os.getpid() == self._pid:
            db.raw.terminate()

    async def close(self) -> None:
        db, self._db = self._db, None
        if db is None or os.getpid() != self._pid:
            return
        try:
            await db.raw.close(timeout=2.0)
        except Exception:
            # the server does not answer: the kernel says good-bye for us
            db.raw.terminate()

    def check_process(self) -> None:
        """Raises :class:`StoreError` in a child of the process that made this."""
        if os.getpid() != self._pid:
            raise StoreError("a store was carried into another process; open a new one there")


def _watch(connection: Connection) -> None:
    """Have the kernel notice a line whose other end is gone."""
    transport = getattr(connection, "_transport", None)
    line = transport.get_extra_info("socket") if transport is not None else None
    if line is None or line.family not in (socket.AF_INET, socket.AF_INET6):
        return
    line.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE["idle"])
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE["interval"])
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE["count"])
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


class Readers:
    """A few sessions for reading, so that a look at the whole store keeps no other reader waiting. The second one is
    opened only when the first is busy."""

    def __init__(self, address: Address, clock: Clock, most: int, patience: float) -> None:
        self._address = address
        # whoever asked is told why there is no answer; that the server is away, the writing session says
        self._idle = [Session(address, "reader", clock, aloud=False) for _ in range(most)]
        self._free = asyncio.Semaphore(most)
        self._patience = patience
        self._closed = False

    async def read(self, action: Callable[[Db], Any]) -> Any:
        """Run ``action``, which must only read; once more when the connection is lost meanwhile."""
        if self._closed:
            raise StoreUnavailable("the store is closed")
        async with self._free:
            session = self._idle.pop(0)
            try:
                return await self._read(session, action)
            finally:
                self._idle.insert(0, session)

    async def _read(self, session: Session, action: Callable[[Db], Any]) -> Any:
        for last in (False, True):
            db = await session.db(self._patience)
            try:
                if self._address.pooled:
                    async with db.transaction():
                        return await action(db)
                return await action(db)
            except Exception as error:
                # whatever the driver raises: in the moment a connection ends, that is more than its documents name
                kind = trouble(error)
                if kind is Trouble.LOST:
                    session.drop()
                if last or kind not in (Trouble.LOST, Trouble.AGAIN):
                    raise translated(error, self._address) from None
            except asyncio.CancelledError:
                # a statement may still run: its answer must not be taken for that of the next
                session.drop()
                raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        self._closed = True
        for session in self._idle:
            await session.close()
