"""What was pushed to people, on one file."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, cast

from stoker.model.audience import NewMessage, Tab
from stoker.store.messages import Head, Page, Pushed, page
from stoker.store.sqlite.connection import Connection
from stoker.store.sqlite.writer import Worker


class SqliteMessages:
    """See :class:`stoker.store.messages.Messages` for what each method guarantees."""

    def __init__(self, writer: Worker, reader: Worker, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    def push(self, messages: Sequence[NewMessage]) -> asyncio.Future[list[Pushed]]:
        new = list(messages)
        return self._writer.do(lambda db: _push(db, new, self._now()))

    def head(self) -> asyncio.Future[Head]:
        return self._reader.do(_head)

    def after(
        self, offset: int, limit: int, *, role: str | None = None, to: Tab | None = None, epoch: str | None = None
    ) -> asyncio.Future[Page]:
        def after(db: Connection) -> Page:
            if to is None:
                rows = db.all("messages_after", offset, epoch, role, limit)
            else:
                rows = db.all("messages_to", offset, epoch, role, limit, to.user, to.session, to.instance)
            return page(cast("list[tuple[Any, ...]]", rows), offset, epoch, limit)

        return self._reader.do(after)

    def purge(self, keep: float, limit: int = 1000) -> asyncio.Future[int]:
        return self._writer.do(lambda db: _purge(db, self._now() - keep, limit))


def _push(db: Connection, messages: Sequence[NewMessage], now: float) -> list[Pushed]:
    newest = begun = cast(int, db.all("message_number")[0][0])
    places = []
    for one in messages:
        to = one.to
        db.all("add_message", newest + 1, one.id, now, one.role, to.user, to.session, to.instance, one.event, one.data)
        newest += db.changes()
        places.append(Pushed(*cast("tuple[int, float]", db.all("message_place", one.id)[0])))
    if newest > begun:
        db.all("set_message_number", newest)
    return places


def _head(db: Connection) -> Head:
    return Head(*cast("tuple[str, int]", db.all("message_head")[0]))


def _purge(db: Connection, before: float, limit: int) -> int:
    gone = [cast(int, row[0]) for row in db.all("purge_messages", before, limit)]
    if gone:
        db.all("set_message_purged", max(gone))
    return len(gone)
