"""Proofs that are good no longer, on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from stoker.store.postgres.session import Db, Readers
from stoker.store.postgres.writer import Kind, Writer
from stoker.store.proofs import REVOCATIONS, Revocation, Revocations, page


class PostgresProofs:
    """See :class:`stoker.store.proofs.Proofs` for what each method guarantees."""

    def __init__(self, writer: Writer, readers: Readers, now: Callable[[], float]) -> None:
        self._writer = writer
        self._readers = readers
        self._now = now

    def spend(self, id: str, life: float) -> asyncio.Future[bool]:
        async def spend(db: Db) -> bool:
            return bool(await db.all("spend", id, life))

        # safe to repeat: whoever lost the answer finds it used
        return self._writer.do(Kind.OTHER, spend)

    def revoke(self, user: str, session: str | None, life: float) -> asyncio.Future[float]:
        async def revoke(db: Db) -> float:
            at: float = await db.value("revoke", user, session or "", life)
            return at

        return self._writer.do(Kind.OTHER, revoke)

    async def revoked(self, after: int, limit: int = REVOCATIONS) -> Revocations:
        async def revoked(db: Db) -> Revocations:
            return page([tuple(row) for row in await db.all("revoked", after, limit)], limit, self._now())

        found: Revocations = await self._readers.read(revoked)
        return found

    def restore(self, revoked: Sequence[Revocation]) -> asyncio.Future[None]:
        known = [(one.user, one.session or "", one.at, one.until) for one in revoked]

        async def restore(db: Db) -> None:
            async with db.together():
                for one in known:
                    await db.all("restore_revoked", *one)

        return self._writer.do(Kind.OTHER, restore)

    def forget(self, limit: int = 1000) -> asyncio.Future[int]:
        async def forget(db: Db) -> int:
            spent: int = await db.value("forget_spent", limit)
            revoked: int = await db.value("forget_revoked", limit)
            return max(spent, revoked)

        return self._writer.do(Kind.OTHER, forget)
