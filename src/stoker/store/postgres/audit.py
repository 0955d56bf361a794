"""Who did what, on a server."""

from __future__ import annotations

import asyncio

from stoker.model.audit import Deed, Done
from stoker.store.audit import AUDIT_MAX, columns, done
from stoker.store.postgres.session import Db, Readers
from stoker.store.postgres.stats import CENTURIES
from stoker.store.postgres.writer import Kind, Writer


class PostgresAudit:
    """See :class:`stoker.store.audit.Audit` for what each method guarantees."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    def add(self, deed: Deed) -> asyncio.Future[None]:
        async def add(db: Db) -> None:
            await db.all("add_audit", *columns(deed))

        # repeated after a lost answer it may be there twice; once too often is better than not
        return self._writer.do(Kind.OTHER, add)

    async def page(
        self, *, since: float = 0.0, before: int | None = None, user: str | None = None, method: str | None = None,
        limit: int = AUDIT_MAX,
    ) -> list[Done]:  # fmt: skip
        async def page(db: Db) -> list[Done]:
            rows = await db.all("audit", since, before, user, method, min(limit, AUDIT_MAX))
            return [done(tuple(row)) for row in rows]

        found: list[Done] = await self._readers.read(page)
        return found

    def forget(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        async def forget(db: Db) -> int:
            went: int = await db.value("forget_audit", min(keep, CENTURIES), limit)
            return went

        return self._writer.do(Kind.OTHER, forget)
