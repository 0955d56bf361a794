"""The store on one SQLite file: writes through the one writer thread, reads through another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

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
from stoker.store.proofs import Proofs
from stoker.store.roles import Roles
from stoker.store.schedules import Schedules
from stoker.store.sqlite import moving, reading, roster, running, submitting, upkeep
from stoker.store.sqlite.audit import SqliteAudit
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.messages import SqliteMessages
from stoker.store.sqlite.proofs import SqliteProofs
from stoker.store.sqlite.roles import SqliteRoles
from stoker.store.sqlite.schedules import SqliteSchedules
from stoker.store.sqlite.stats import SqliteStats
from stoker.store.sqlite.writer import Worker
from stoker.store.stats import Stats


class SqliteStore:
    """See :class:`stoker.store.base.Store` for what each method guarantees."""

    shared = False

    def __init__(self, path: Path | str, clock: Clock | None = None) -> None:
        self.path = Path(path)
        self._clock = clock or SystemClock()
        self._writer = Worker(self._open_writer, "stoker-writer", grouped=True)
        self._reader = Worker(self._open_reader, "stoker-reader", grouped=False)
        self.stats: Stats = SqliteStats(self._writer, self._reader, self.now)
        self.messages: Messages = SqliteMessages(self._writer, self._reader, self.now)
        self.proofs: Proofs = SqliteProofs(self._writer, self._reader, self.now)
        self.audit: Audit = SqliteAudit(self._writer, self._reader, self.now)
        self.roles: Roles = SqliteRoles(self._writer, self._reader, self.now)
        self.schedules: Schedules = SqliteSchedules(self._writer, self._reader, self.now)
        self._open = False

    def _open_writer(self) -> Connection:
        connection = Connection(self.path, writing=True)
        connection.migrate()
        return connection

    def _open_reader(self) -> Connection:
        return Connection(self.path, writing=False)

    async def open(self, patience: float = PATIENCE) -> None:
        if not self._open:
            await self._writer.start()
            await self._reader.start()
            self._open = True

    async def close(self) -> None:
        await self._reader.stop()
        await self._writer.stop()

    def now(self) -> float:
        return self._clock.wall()

    def submit(
        self, submissions: Sequence[Submission], *, together: bool = False
    ) -> asyncio.Future[list[Submitted | Exception]]:
        new = list(submissions)
        return self._writer.do(lambda db: submitting.submit(db, new, self.now(), together))

    def claim(self, owner: str, lease: float, quotas: Sequence[Quota], total: int) -> asyncio.Future[list[Claimed]]:
        return self._writer.do(lambda db: running.claim(db, owner, lease, quotas, total, self.now()))

    def settle(self, settlements: Sequence[Settlement]) -> asyncio.Future[list[bool]]:
        return self._writer.do(lambda db: running.settle(db, settlements, self.now()))

    def report(self, reports: Sequence[Report]) -> asyncio.Future[list[bool]]:
        return self._writer.do(lambda db: running.report(db, reports, self.now()))

    def renew(self, owner: str, lease: float, held: Sequence[Held]) -> asyncio.Future[list[bool]]:
        mine = list(held)
        return self._writer.do(lambda db: running.renew(db, owner, self.now() + lease, mine))

    def abandoned(self, owner: str, limit: int = 500) -> asyncio.Future[list[Claimed]]:
        return self._reader.do(lambda db: running.abandoned(db, owner, limit, self.now()))

    def promote(self) -> asyncio.Future[float | None]:
        return self._writer.do(lambda db: upkeep.promote(db, self.now()))

    def expire(self) -> asyncio.Future[list[str]]:
        return self._writer.do(lambda db: upkeep.expire(db, self.now()))

    def orphan(self, known: Sequence[str]) -> asyncio.Future[list[str]]:
        return self._writer.do(lambda db: upkeep.orphan(db, frozenset(known), self.now()))

    def orders(self, owner: str) -> asyncio.Future[list[tuple[str, str]]]:
        return self._reader.do(lambda db: running.orders(db, owner))

    def cancel(self, id: str, reason: str) -> asyncio.Future[Job]:
        return self._writer.do(lambda db: upkeep.cancel(db, id, reason, self.now()))

    def retry(self, id: str) -> asyncio.Future[Job]:
        return self._writer.do(lambda db: upkeep.retry(db, id, self.now()))

    def get(self, id: str) -> asyncio.Future[Job]:
        return self._reader.do(lambda db: reading.get(db, id))

    def jobs(self, filter: Filter) -> asyncio.Future[list[Job]]:
        return self._reader.do(lambda db: reading.jobs(db, filter))

    def ahead(self, job: Job) -> asyncio.Future[int]:
        return self._reader.do(lambda db: reading.ahead(db, job))

    def holders(self, key: str) -> asyncio.Future[list[str]]:
        return self._reader.do(lambda db: reading.holders(db, key))

    def events(self, id: str, after: int = 0, limit: int = 1000) -> asyncio.Future[list[Event]]:
        return self._reader.do(lambda db: reading.events(db, id, after, limit))

    def news(self, cursors: Sequence[Cursor]) -> asyncio.Future[list[News]]:
        wanted = list(cursors)
        return self._reader.do(lambda db: reading.news(db, wanted))

    def counts(self, *, ended: bool = True) -> asyncio.Future[Counts]:
        return self._reader.do(lambda db: reading.counts(db, ended=ended))

    def command_stats(self) -> asyncio.Future[list[CommandStats]]:
        return self._reader.do(reading.command_stats)

    def pause(self, name: str) -> asyncio.Future[None]:
        def pause(db: Connection) -> None:
            db.all("pause", name, self.now())

        return self._writer.do(pause)

    def resume(self, name: str) -> asyncio.Future[bool]:
        def resume(db: Connection) -> bool:
            db.all("resume", name)
            return db.changes() > 0

        return self._writer.do(resume)

    def pauses(self) -> asyncio.Future[frozenset[str]]:
        return self._reader.do(lambda db: frozenset(str(row[0]) for row in db.all("pauses")))

    def listen(self, on_wake: Callable[[Wake], None]) -> None:
        """Nobody else writes here."""

    def beat(self, beat: Beat) -> asyncio.Future[bool]:
        return self._writer.do(lambda db: roster.beat(db, beat, self.now()))

    def leave(self, boot: str) -> asyncio.Future[None]:
        def leave(db: Connection) -> None:
            db.all("leave", boot)

        return self._writer.do(leave)

    def nodes(self) -> asyncio.Future[list[Node]]:
        return self._reader.do(lambda db: roster.nodes(db, self.now()))

    def cordon(self, name: str) -> asyncio.Future[None]:
        return self._writer.do(lambda db: roster.cordon(db, name, self.now()))

    def uncordon(self, name: str) -> asyncio.Future[bool]:
        return self._writer.do(lambda db: roster.uncordon(db, name))

    def cordons(self) -> asyncio.Future[frozenset[str]]:
        return self._reader.do(roster.cordons)

    def dump(self, after: int, limit: int) -> asyncio.Future[list[Kept]]:
        return self._reader.do(lambda db: moving.dump(db, after, limit))

    def restore(self, jobs: Sequence[Kept]) -> asyncio.Future[int]:
        kept = list(jobs)
        return self._writer.do(lambda db: moving.restore(db, kept))

    def purge(self, keep_jobs: float, keep_events: float, limit: int = 1000) -> asyncio.Future[int]:
        def purge(db: Connection) -> int:
            return upkeep.purge(db, self.now() - keep_jobs, self.now() - keep_events, limit)

        return self._writer.do(purge)
