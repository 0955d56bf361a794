"""Figures over time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker
from stoker.store.stats import PAGE_MAX, Period


class SqliteStats:
    """See :class:`stoker.store.stats.Stats` for what each method guarantees."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def keep(self, boot: str, node: str, seconds: float, data: bytes, *, coarse: bool) -> asyncio.Future[None]:
        def keep(db: Connection) -> None:
            db.all("keep_stats", self._now(), boot, int(coarse), node, seconds, data)

        return self._writer.do(keep)

    def since(
        self, at: float, *, coarse: bool, node: str | None = None, limit: int = PAGE_MAX
    ) -> asyncio.Future[list[Period]]:
        def since(db: Connection) -> list[Period]:
            rows = db.all("stats_since", int(coarse), at, node, min(limit, PAGE_MAX))
            return [_period(cast("tuple[Any, ...]", row)) for row in rows]

        return self._reader.do(since)

    def forget(self, fine: float, coarse: float, limit: int = 1000) -> asyncio.Future[int]:
        def forget(db: Connection) -> int:
            gone = []
            for kind, seconds in ((0, fine), (1, coarse)):
                db.all("forget_stats", kind, self._now() - seconds, limit)
                gone.append(db.changes())
            return max(gone)

        return self._writer.do(forget)


def _period(row: tuple[Any, ...]) -> Period:
    at, boot, node, seconds, data = row
    return Period(at=at, boot=boot, node=node, seconds=seconds, data=data)
