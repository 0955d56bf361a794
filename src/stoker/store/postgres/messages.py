"""What was pushed to people, on a server."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from stoker.model.audience import NewMessage, Tab
from stoker.store.messages import Head, Page, Pushed, page
from stoker.store.postgres.session import Db, Readers
from stoker.store.postgres.writer import Kind, Writer


class PostgresMessages:
    """See :class:`stoker.store.messages.Messages` for what each method guarantees."""

    def __init__(self, writer: Writer, readers: Readers) -> None:
        self._writer = writer
        self._readers = readers

    def push(self, messages: Sequence[NewMessage]) -> asyncio.Future[list[Pushed]]:
        columns = [
            [one.id for one in messages],
            [one.role for one in messages],
            [one.to.user for one in messages],
            [one.to.session for one in messages],
            [one.to.instance for one in messages],
            [one.event for one in messages],
            [one.data for one in messages],
        ]

        async def push(db: Db) -> list[Pushed]:
            return [Pushed(*row) for row in await db.all("push", *columns)]

        # safe to repeat: the ids say what is there already
        return self._writer.do(Kind.OTHER, push)

    async def head(self) -> Head:
        async def head(db: Db) -> Head:
            (row,) = await db.all("message_head")
            return Head(*row)

        found: Head = await self._readers.read(head)
        return found

    async def after(
        self, offset: int, limit: int, *, role: str | None = None, to: Tab | None = None, epoch: str | None = None
    ) -> Page:
        async def after(db: Db) -> Page:
            if to is None:
                rows = await db.all("messages_after", offset, epoch, role, limit)
            else:
                rows = await db.all("messages_to", offset, epoch, role, limit, to.user, to.session, to.instance)
            return page([tuple(row) for row in rows], offset, epoch, limit)

        found: Page = await self._readers.read(after)
        return found

    def purge(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        async def purge(db: Db) -> int:
            went: int = await db.value("purge_messages", keep, limit)
            return went

        return self._writer.do(Kind.OTHER, purge)
