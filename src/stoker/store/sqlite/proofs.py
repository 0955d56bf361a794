"""Proofs that are good no longer, on one file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from stoker.store.proofs import REVOCATIONS, Revocation, Revocations, page
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker


class SqliteProofs:
    """See :class:`stoker.store.proofs.Proofs` for what each method guarantees."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def spend(self, id: str, life: float) -> asyncio.Future[bool]:
        def spend(db: Connection) -> bool:
            db.all("spend", id, self._now() + life)
            return db.changes() > 0

        return self._writer.do(spend)

    def revoke(self, user: str, session: str | None, life: float) -> asyncio.Future[float]:
        def revoke(db: Connection) -> float:
            now = self._now()
            db.all("revoke_number")
            db.all("revoke", user, session or "", now, now + life)
            return now

        return self._writer.do(revoke)

    def revoked(self, after: int, limit: int = REVOCATIONS) -> asyncio.Future[Revocations]:
        def revoked(db: Connection) -> Revocations:
            return page(cast("list[tuple[Any, ...]]", db.all("revoked", after, limit)), limit, self._now())

        return self._reader.do(revoked)

    def restore(self, revoked: Sequence[Revocation]) -> asyncio.Future[None]:
        known = list(revoked)

        def restore(db: Connection) -> None:
            for one in known:
                db.all("revoke_number")
                db.all("revoke", one.user, one.session or "", one.at, one.until)

        return self._writer.do(restore)

    def forget(self, limit: int = 1000) -> asyncio.Future[int]:
        def forget(db: Connection) -> int:
            gone = []
            for statement in ("forget_spent", "forget_revoked"):
                db.all(statement, self._now(), limit)
                gone.append(db.changes())
            return max(gone)

        return self._writer.do(forget)
