"""The store on a PostgreSQL server: writes through one session, reads through others, a third that listens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from stoker.model.clock import Clock, SystemClock
from stoker.model.event import Event
from stoker.model.job import Claimed, Job, Submission, Submitted
from stoker.model.node import Beat, Node
from stoker.store.audit import Audit
from stoker.store.base import (
    PATIENCE,
    CommandStats,
    Counts,
    Cursor,
    Filter,
    Held,
    Kept,
    News,
    Quota,
    Report,
    Settlement,
    Wake,
)
from stoker.store.messages import Messages
from stoker.store.postgres import migrating, moving, reading, roster, running, submitting, upkeep
from stoker.store.postgres.audit import PostgresAudit
from stoker.store.postgres.clock import ServerClock
from stoker.store.postgres.listener import Listener
from stoker.store.postgres.messages import PostgresMessages
from stoker.store.postgres.proofs import PostgresProofs
from stoker.store.postgres.roles import PostgresRoles
from stoker.store.postgres.schedules import PostgresSchedules
from stoker.store.postgres.session import Db, Readers, Session
from stoker.store.postgres.stats import PostgresStats
from stoker.store.postgres.url import parse
from stoker.store.postgres.writer import Kind, Writer
from stoker.store.proofs import Proofs
from stoker.store.roles import Roles
from stoker.store.schedules import Schedules
from stoker.store.stats import Stats

READERS = 2


class PostgresStore:
    """See :class:`stoker.store.base.Store` for what each method guarantees.

    Its clock is the server's. ``open`` tries for some seconds to reach the server; once open, it comes back from any
    outage by itself, and what cannot wait longer is told so.
    """

    shared = True

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.address = parse(url)
        local = clock or SystemClock()
        self._clock = ServerClock(local)
        self._session = Session(self.address, "writer", local, self._welcome)
        self._writer = Writer(self._session, self._clock)
        self._readers = Readers(self.address, local, READERS, PATIENCE)
        self.stats: Stats = PostgresStats(self._writer, self._readers)
        self.messages: Messages = PostgresMessages(self._writer, self._readers)
        self.proofs: Proofs = PostgresProofs(self._writer, self._readers, self.now)
        self.audit: Audit = PostgresAudit(self._writer, self._readers)
        self.roles: Roles = PostgresRoles(self._do, self._readers)
        self.schedules: Schedules = PostgresSchedules(self._do, self._readers, self.now)
        self._listener: Listener | None = None
        self._local = local
        self._open = False
        self._own: int | None = None
        self._alone = False
        """Whether the writing session tells nobody what it changed: no other daemon is there."""

    async def open(self, patience: float = PATIENCE) -> None:
        if self._open:
            return
        # who waits for ever has a log to say so in; to others the error says it, and standard output may be theirs
        self._session.aloud = math.isinf(patience)
        await self._session.db(patience)
        self._open = True
        self._writer.start()
        if self._listener is not None:
            self._listener.start()

    async def _welcome(self, db: Db) -> None:
        """Before a new writing session is used."""
        if not self._open:
            await migrating.migrate(db, self.address)
        asked = self._clock.mono()
        row = await db.one("welcome")
        assert row is not None
        self._clock.heard(asked, row[0])
        if row[1] == "off" and not self.address.pooled:
            # an answer must mean that it is on disk
            await db.raw.execute("SET synchronous_commit = on")
        self._own = db.raw.get_server_pid()
        self._alone = False

    async def close(self) -> None:
        if self._listener is not None:
            await self._listener.stop()
        await self._readers.close()
        await self._writer.stop()

    def now(self) -> float:
        return self._clock.now()

    def listen(self, on_wake: Callable[[Wake], None]) -> None:
        if self.address.listens:
            self._listener = Listener(self.address, self._local, on_wake, lambda: self._own)

    def _do(self, action: Callable[[Db], Awaitable[Any]], *, repeat: bool = True) -> asyncio.Future[Any]:
        return self._writer.do(Kind.OTHER, action, repeat=repeat)

    # ── the way of a job ─────────────────────────────────────────────────────────────────────────────────────────

    def submit(
        self, submissions: Sequence[Submission], *, together: bool = False
    ) -> asyncio.Future[list[Submitted | Exception]]:
        new = list(submissions)
        if together:
            kind = Kind.TOGETHER
        else:
            kind = Kind.KEYED if any(submitting.is_keyed(one) for one in new) else Kind.SUBMIT
        return self._writer.do(kind, new)

    def claim(self, owner: str, lease: float, quotas: Sequence[Quota], total: int) -> asyncio.Future[list[Claimed]]:
        return self._writer.do(Kind.CLAIM, lambda db: running.claim(db, owner, lease, quotas, total))

    def settle(self, settlements: Sequence[Settlement]) -> asyncio.Future[list[bool]]:
        return self._writer.do(Kind.SETTLE, list(settlements))

    def report(self, reports: Sequence[Report]) -> asyncio.Future[list[bool]]:
        return self._writer.do(Kind.REPORT, list(reports))

    def renew(self, owner: str, lease: float, held: Sequence[Held]) -> asyncio.Future[list[bool]]:
        mine = list(held)
        return self._do(lambda db: running.renew(db, self._clock, owner, lease, mine))

    async def abandoned(self, owner: str, limit: int = 500) -> list[Claimed]:
        found: list[Claimed] = await self._readers.read(lambda db: running.abandoned(db, limit))
        return found

    # ── upkeep ───────────────────────────────────────────────────────────────────────────────────────────────────

    def promote(self) -> asyncio.Future[float | None]:
        return self._do(upkeep.promote)

    def expire(self) -> asyncio.Future[list[str]]:
        return self._do(upkeep.expire)

    def orphan(self, known: Sequence[str]) -> asyncio.Future[list[str]]:
        names = frozenset(known)
        return self._do(lambda db: upkeep.orphan(db, names))

    def cancel(self, id: str, reason: str) -> asyncio.Future[Job]:
        return self._do(lambda db: upkeep.cancel(db, id, reason))

    def retry(self, id: str) -> asyncio.Future[Job]:
        return self._do(lambda db: upkeep.retry(db, id), repeat=False)

    def pause(self, name: str) -> asyncio.Future[None]:
        return self._do(lambda db: upkeep.pause(db, name))

    def resume(self, name: str) -> asyncio.Future[bool]:
        return self._do(lambda db: upkeep.resume(db, name))

    def purge(self, keep_jobs: float, keep_events: float, limit: int = 1000) -> asyncio.Future[int]:
        return self._do(lambda db: upkeep.purge(db, keep_jobs, keep_events, limit))

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def orders(self, owner: str) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = await self._readers.read(lambda db: running.orders(db, owner))
        return found

    async def get(self, id: str) -> Job:
        found: Job = await self._readers.read(lambda db: reading.get(db, id))
        return found

    async def jobs(self, filter: Filter) -> list[Job]:
        found: list[Job] = await self._readers.read(lambda db: reading.jobs(db, filter))
        return found

    async def ahead(self, job: Job) -> int:
        found: int = await self._readers.read(lambda db: reading.ahead(db, job))
        return found

    async def holders(self, key: str) -> list[str]:
        found: list[str] = await self._readers.read(lambda db: reading.holders(db, key))
        return found

    async def events(self, id: str, after: int = 0, limit: int = 1000) -> list[Event]:
        found: list[Event] = await self._readers.read(lambda db: reading.events(db, id, after, limit))
        return found

    async def news(self, cursors: Sequence[Cursor]) -> list[News]:
        found: list[News] = await self._readers.read(lambda db: reading.news(db, cursors))
        return found

    async def counts(self, *, ended: bool = True) -> Counts:
        found: Counts = await self._readers.read(lambda db: reading.counts(db, ended=ended))
        return found

    async def command_stats(self) -> list[CommandStats]:
        found: list[CommandStats] = await self._readers.read(reading.command_stats)
        return found

    async def pauses(self) -> frozenset[str]:
        found: frozenset[str] = await self._readers.read(reading.pauses)
        return found

    # ── nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def beat(self, beat: Beat) -> asyncio.Future[bool]:
        async def write(db: Db) -> bool:
            # behind a pooler a session is somebody else's by the next transaction
            told = None if self.address.pooled else self._alone
            cordoned, self._alone = await roster.beat(db, self._clock, beat, told=told)
            return cordoned

        return self._do(write)

    def leave(self, boot: str) -> asyncio.Future[None]:
        return self._do(lambda db: roster.leave(db, boot))

    async def nodes(self) -> list[Node]:
        found: list[Node] = await self._readers.read(roster.nodes)
        return found

    def cordon(self, name: str) -> asyncio.Future[None]:
        return self._do(lambda db: roster.cordon(db, name))

    def uncordon(self, name: str) -> asyncio.Future[bool]:
        return self._do(lambda db: roster.uncordon(db, name))

    async def cordons(self) -> frozenset[str]:
        found: frozenset[str] = await self._readers.read(roster.cordons)
        return found

    # ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def dump(self, after: int, limit: int) -> list[Kept]:
        found: list[Kept] = await self._readers.read(lambda db: moving.dump(db, after, limit))
        return found

    def restore(self, jobs: Sequence[Kept]) -> asyncio.Future[int]:
        kept = list(jobs)
        return self._do(lambda db: moving.restore(db, kept))
