"""Pushing events to people, and hearing what is pushed to scripts: the same for coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Protocol, TypeVar

from stoker.client.pushing import PAGE, Page, Place, is_pushed, next_place, record, until
from stoker.model import audience
from stoker.model.errors import StokerError
from stoker.wire import messages
from stoker.wire.records import Delivery, MessageRecord
from stoker.wire.topics import AUDIENCE

T = TypeVar("T")


class AsyncAsking(Protocol):
    """What the client for coroutines has already."""

    async def ask(self, method: str, kind: type[Any] = object, **params: Any) -> Any: ...

    async def connected(self) -> AsyncLine: ...


class AsyncLine(Protocol):
    """The connection of the client for coroutines."""

    broken: StokerError | None

    async def ask(self, method: str, params: Any, kind: type[T]) -> T: ...

    def listen(self, topic: str) -> asyncio.Queue[messages.Event | StokerError]: ...

    def forget(self, topic: str, inbox: asyncio.Queue[messages.Event | StokerError]) -> bool: ...


class AsyncPushing:
    """The methods of :class:`stoker.AsyncClient`."""

    async def send_to_all(
        self: AsyncAsking, role: str, user: str | int, event: str, data: Any = None, *, session: str | None = None,
        instance: str | None = None, pulse: bool = False,
    ) -> Delivery:  # fmt: skip
        """Push an event; see :meth:`stoker.Client.send_to_all`."""
        asked = audience.push(role, user, event, data, session, instance, pulse)
        answer: Delivery = await self.ask("send_to_all", Delivery, **asked)
        return answer

    async def notify_now(
        self: AsyncAsking, user: str | int, message: str, *, title: str | None = None, level: str = "info",
        data: Any = None,
    ) -> Delivery:  # fmt: skip
        """Push a notification; see :meth:`stoker.Client.notify_now`."""
        asked = audience.notification(user, message, title, level, data)
        answer: Delivery = await self.ask("notify_now", Delivery, **asked)
        return answer

    async def listen(self: AsyncAsking, after: int | None = None) -> AsyncIterator[MessageRecord]:
        """What is pushed to scripts; see :meth:`stoker.Client.listen`."""
        line = await self.connected()
        inbox = line.listen(AUDIENCE)
        try:
            begun = await line.ask("subscribe", {"topic": AUDIENCE}, Place)
            while after is not None and after < begun.offset:
                page = await self.ask("messages", Page, after=after, limit=PAGE)
                for found in until(begun, page):
                    yield found
                after = next_place(page)
            while True:
                message = await inbox.get()
                if isinstance(message, StokerError):
                    raise message
                # others on this connection listen, too: what comes may be older than this beginning
                if is_pushed(message) and (message.offset is None or message.offset > begun.offset):
                    yield record(message)
        finally:
            if line.forget(AUDIENCE, inbox) and line.broken is None:
                await line.ask("unsubscribe", {"topic": AUDIENCE}, object)
