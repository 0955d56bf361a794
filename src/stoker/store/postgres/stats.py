"""Figures over time."""

from __future__ import annotations

import asyncio

from stoker.store.postgres.session import Db, Readers
from stoker.store.postgres.writer import Kind, Writer
from stoker.store.stats import PAGE_MAX, Period

CENTURIES = 3e9
"""Seconds that are as good as for ever, and that an interval can hold."""


class PostgresStats:
    """See :class:`stoker.store.stats.Stats` for what each method guarantees."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    def keep(self, boot: str, node: str, seconds: float, data: bytes, *, coarse: bool) -> asyncio.Future[None]:
        async def keep(db: Db) -> None:
            await db.all("keep_stats", boot, coarse, node, seconds, data)

        return self._writer.do(Kind.OTHER, keep)

    async def since(self, at: float, *, coarse: bool, node: str | None = None, limit: int = PAGE_MAX) -> list[Period]:
        async def since(db: Db) -> list[Period]:
            rows = await db.all("stats_since", coarse, at, node, min(limit, PAGE_MAX))
            return [Period(at=row[0], boot=row[1], node=row[2], seconds=row[3], data=row[4]) for row in rows]

        found: list[Period] = await self._readers.read(since)
        return found

    def forget(self, fine: float, coarse: float, limit: int = 1000) -> asyncio.Future[int]:
        async def forget(db: Db) -> int:
            fine_gone: int = await db.value("forget_stats", False, min(fine, CENTURIES), limit)
            coarse_gone: int = await db.value("forget_stats", True, min(coarse, CENTURIES), limit)
            return max(fine_gone, coarse_gone)

        return self._writer.do(Kind.OTHER, forget)
