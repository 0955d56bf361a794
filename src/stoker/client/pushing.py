"""Pushing events to people, and hearing what is pushed to scripts: the part of the blocking client that is about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeGuard

import msgspec

from stoker.client.line import Line
from stoker.model import audience
from stoker.wire import messages
from stoker.wire.records import Delivery, MessageRecord
from stoker.wire.topics import AUDIENCE

PAGE = 500


class Place(msgspec.Struct):
    offset: int


class Page(msgspec.Struct):
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
            begun = line.ask("subscribe", {"topic": AUDIENCE}, Place)
            yield from _replayed(lambda place: self.ask("messages", Page, after=place, limit=PAGE), after, begun)
            while True:
                message = line.next()
                if is_pushed(message):
                    yield record(message)


def _replayed(read: Callable[[int], Page], after: int | None, begun: Place) -> Iterator[MessageRecord]:
    """What was pushed beyond a cursor before somebody began to listen."""
    while after is not None and after < begun.offset:
        page = read(after)
        yield from until(begun, page)
        after = next_place(page)


def until(begun: Place, page: Page) -> list[MessageRecord]:
    """What of a page came before somebody began to listen."""
    return [one for one in page.messages if one.offset is not None and one.offset <= begun.offset]


def next_place(page: Page) -> int | None:
    """Where to read on; None after the last page."""
    return page.offset if len(page.messages) >= PAGE else None


def is_pushed(message: messages.Message) -> TypeGuard[messages.Event]:
    return isinstance(message, messages.Event) and message.topic == AUDIENCE and message.to is not None


def record(message: messages.Event) -> MessageRecord:
    assert message.to is not None
    return MessageRecord(message.offset, message.event, message.data, message.to, message.at)
