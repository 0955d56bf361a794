"""Pushing events to people, and hearing what is pushed to scripts: the part of both clients that is about it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeGuard, TypeVar

import msgspec

from stoker.client.line import Line
from stoker.model import audience
from stoker.model.errors import StokerError
from stoker.wire import messages
from stoker.wire.records import Delivery, MessageRecord

T = TypeVar("T")
TOPIC = "audience"
PAGE = 500


class _Place(msgspec.Struct):
    offset: int


class _Page(msgspec.Struct):
    offset: int
    messages: list[MessageRecord]


class Asking(Protocol):
    """What the blocking client has already."""

    def ask(self, method: str, kind: type[Any] = object, *, timeout: float | None = None, **params: Any) -> Any: ...

    def line(self, timeout: float | None = None) -> AbstractContextManager[Line]: ...


class Pushing:
    """The methods of :class:`stoker.Client`."""

    def send_to_all(
        self: Asking, role: str, user: str | int, event: str, data: Any = None, *, session: str | None = None,
        instance: str | None = None, pulse: bool = False,
    ) -> Delivery:  # fmt: skip
        """Push an event to the browser tabs of a user (``"0"``: of everybody), of one session of theirs, or of one
        instance in it; with the role ``script`` to scripts that :meth:`listen`.

        It is stored when this returns, kept for a while for those who come back, and reaches each tab once, on every
        node. A ``pulse`` is not kept, and reaches whoever is there. Raises RequestErrors for an address or data that
        cannot be.
        """
        asked = audience.push(role, user, event, data, session, instance, pulse)
        answer: Delivery = self.ask("send_to_all", Delivery, **asked)
        return answer

    def notify_now(
        self: Asking, user: str | int, message: str, *, title: str | None = None, level: str = "info", data: Any = None
    ) -> Delivery:
        """Push a notification to a user: the event ``notification``. ``level`` is ``info``, ``success``, ``warning`` or
        ``error``."""
        answer: Delivery = self.ask("notify_now", Delivery, **audience.notification(user, message, title, level, data))
        return answer

    def listen(self: Asking, after: int | None = None) -> Iterator[MessageRecord]:
        """What is pushed to scripts, as it comes; first what was pushed beyond the offset ``after``, as far as that is
        kept. Raises a DaemonError when the daemon goes away."""
        with self.line() as line:
            begun = line.ask("subscribe", {"topic": TOPIC}, _Place)
            yield from _replayed(lambda place: self.ask("messages", _Page, after=place, limit=PAGE), after, begun)
            while True:
                message = line.next()
                if _is_pushed(message):
                    yield _record(message)


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
        inbox = line.listen(TOPIC)
        try:
            begun = await line.ask("subscribe", {"topic": TOPIC}, _Place)
            while after is not None and after < begun.offset:
                page = await self.ask("messages", _Page, after=after, limit=PAGE)
                for found in _until(begun, page):
                    yield found
                after = page.offset
            while True:
                message = await inbox.get()
                if isinstance(message, StokerError):
                    raise message
                # others on this connection listen, too: what comes may be older than this beginning
                if _is_pushed(message) and (message.offset is None or message.offset > begun.offset):
                    yield _record(message)
        finally:
            if line.forget(TOPIC, inbox) and line.broken is None:
                await line.ask("unsubscribe", {"topic": TOPIC}, object)


def _replayed(read: Callable[[int], _Page], after: int | None, begun: _Place) -> Iterator[MessageRecord]:
    """What was pushed beyond a cursor before somebody began to listen."""
    while after is not None and after < begun.offset:
        page = read(after)
        yield from _until(begun, page)
        after = page.offset


def _until(begun: _Place, page: _Page) -> list[MessageRecord]:
    return [one for one in page.messages if one.offset is not None and one.offset <= begun.offset]


def _is_pushed(message: messages.Message) -> TypeGuard[messages.Event]:
    return isinstance(message, messages.Event) and message.topic == TOPIC and message.to is not None


def _record(message: messages.Event) -> MessageRecord:
    assert message.to is not None
    return MessageRecord(message.offset, message.event, message.data, message.to, message.at)
