"""Connections that read slower than others say: left out where they stand, and told the rest when they read again.

live ──► does not read: ``behind`` is where it stands ──► reads again: page by page from the store ──► live
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from stoker.model.audience import Message
from stoker.store.base import Store
from stoker.store.messages import Head
from stoker.wire import messages
from stoker.wire.records import iso
from stoker.wire.topics import AUDIENCE

log = structlog.get_logger(role="router")

PAGE = 200
"""Messages that are read at once, of 64 KB at most each."""
TRY_AGAIN = 1.0
"""Seconds until a look that the store could not answer is tried again."""


class Listener(Protocol):
    """A connection that pushed events go to."""

    behind: int | None
    """The offset it has come to, while it does not read as fast as others say."""

    @property
    def writable(self) -> bool:
        """Whether it reads what it is sent."""

    def say(self, line: bytes) -> None:
        """Send a line."""


class Behind:
    """``head`` is what everybody else has been told, ``reaches`` says whether a message is for a connection."""

    def __init__(
        self, store: Store, head: Callable[[], Head | None], reaches: Callable[[Listener, Message], bool]
    ) -> None:
        self._store = store
        self._head = head
        self._reaches = reaches
        self._tasks: dict[Listener, asyncio.Task[None]] = {}

    def resumed(self, listener: Listener) -> None:
        """A connection reads again."""
        if listener.behind is not None and listener.writable and listener not in self._tasks:
            self._tasks[listener] = asyncio.get_running_loop().create_task(self._catch_up(listener))

    def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    async def _catch_up(self, listener: Listener) -> None:
        """Read for one connection what it has not been told."""
        try:
            while listener.behind is not None and listener.writable and (head := self._head()) is not None:
                if listener.behind >= head.offset:
                    listener.behind = None
                    return
                begun = listener.behind
                page = await self._store.messages.after(begun, PAGE, epoch=head.epoch)
                if listener.behind != begun:
                    continue  # it went meanwhile, and may have come again
                if page.reset and listener.writable:
                    listener.say(reset_line(Head(page.epoch, listener.behind)))
                head = self._head()
                if head is None or not self._repeat(listener, page.messages, head.offset):
                    return
                # what is newer is said with everybody
                listener.behind = min(page.offset, head.offset)
        except Exception as error:
            log.error("cannot read what a slow connection has missed; trying again", error=repr(error))
            asyncio.get_running_loop().call_later(TRY_AGAIN, self.resumed, listener)
        finally:
            del self._tasks[listener]

    def _repeat(self, listener: Listener, found: Iterable[Message], end: int) -> bool:
        """Say to one connection what everybody was told up to ``end``; False when it does not read any more."""
        for message in found:
            if message.offset > end:
                break
            if not listener.writable:
                return False
            if self._reaches(listener, message):
                listener.say(message_line(message))
            listener.behind = message.offset
        return True


def message_line(message: Message) -> bytes:
    """A message as it is said."""
    at = iso(message.at)
    return messages.encode(messages.Event(message.event, message.data, AUDIENCE, message.offset, message.to, at))


def reset_line(head: Head) -> bytes:
    """That something was lost, and where it goes on."""
    data = msgspec.json.encode({"epoch": head.epoch, "offset": head.offset})
    return messages.encode(messages.Event("reset", msgspec.Raw(data), AUDIENCE, head.offset))
