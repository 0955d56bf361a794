"""Who did what, on one file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from stoker.model.audit import Deed, Done
from stoker.store.audit import AUDIT_MAX, columns, done
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker


class SqliteAudit:
    """See :class:`stoker.store.audit.Audit` for what each method guarantees."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def add(self, deed: Deed) -> asyncio.Future[None]:
        def add(db: Connection) -> None:
            db.all("add_audit", self._now(), *columns(deed))

        return self._writer.do(add)

    def page(
        self, *, since: float = 0.0, before: int | None = None, user: str | None = None, method: str | None = None,
        limit: int = AUDIT_MAX,
    ) -> asyncio.Future[list[Done]]:  # fmt: skip
        def page(db: Connection) -> list[Done]:
            rows = db.all("audit", since, before, user, method, min(limit, AUDIT_MAX))
            return [done(cast("tuple[Any, ...]", row)) for row in rows]

        return self._reader.do(page)

    def forget(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        def forget(db: Connection) -> int:
            db.all("forget_audit", self._now() - keep, limit)
            return db.changes()

        return self._writer.do(forget)
