"""Pushing events to people: stored, numbered, and said once to every connection that reaches one of them.

    push ──► written together ──► store ──┐
                                          ├──► deliver, in the order of offsets ──► the tree says to which connections
    another node's ──► wake ──► look ─────┘

There is one cursor for all: a message is delivered when every one before it was. What this daemon wrote is delivered
from its own hands when it is the next; anything else is read from the store. Who does not read as fast as others say is
left out, and catches up from the store as soon as it reads again: it costs a number, and slows nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec
import structlog

from stoker.model.audience import Address, Message, NewMessage, Roles, Tab
from stoker.model.errors import StokerError, StoreError
from stoker.router.hub_pulse import Pulses
from stoker.router.hub_tree import Tree
from stoker.store.base import Store
from stoker.store.messages import Head
from stoker.wire import messages
from stoker.wire.records import iso

log = structlog.get_logger(role="router")

PAGE = 500
BATCH = 200
"""Messages that are written together at most."""
TRY_AGAIN = 1.0
"""Seconds until a look that the store could not answer is tried again."""
AUDIENCE = "audience"
"""The topic of pushed events."""


class Listener(Protocol):
    """A connection that pushed events go to."""

    behind: int | None
    """The offset it has come to, while it does not read as fast as others say."""

    @property
    def writable(self) -> bool:
        """Whether it reads what it is sent."""

    def say(self, line: bytes) -> None:
        """Send a line."""


class Hub:
    """All tabs of this daemon, and the scripts that listen beside them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tree: Tree[Listener] = Tree()
        self.pulses = Pulses()
        self._scripts: set[Listener] = set()
        self._head: Head | None = None
        self._arriving: list[Callable[[Head | StokerError], None]] = []
        self._queue: list[tuple[NewMessage, asyncio.Future[int]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._stale = False
        self._looking: asyncio.Task[None] | None = None
        self._catching: dict[Listener, asyncio.Task[None]] = {}

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────────

    def attach(self, listener: Listener, tab: Tab, then: Callable[[Head | StokerError], None]) -> None:
        """Put a tab into the tree. ``then`` is called with the end of what was pushed before, or why that is not known:
        what comes after will be said."""
        self._when_known(lambda: self.tree.attach(listener, tab), then)

    def listen(self, listener: Listener, then: Callable[[Head | StokerError], None]) -> None:
        """Say to a script what is pushed to scripts."""
        self._when_known(lambda: self._scripts.add(listener), then)

    def detach(self, listener: Listener, tab: Tab) -> bool:
        """Take a tab out of the tree; whether it was there."""
        was = self.tree.detach(listener, tab)
        self._rest()
        return was

    def hush(self, listener: Listener) -> bool:
        """The script listens no more; whether it did."""
        was = listener in self._scripts
        self._scripts.discard(listener)
        self._rest()
        return was

    def leave(self, listener: Listener) -> None:
        """The connection is gone."""
        self.tree.leave(listener)
        self.pulses.leave(listener)
        self._scripts.discard(listener)
        listener.behind = None
        self._rest()

    # ── pushing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def push(self, message: NewMessage) -> int:
        """Store a message and have it delivered; its offset. Raises a RequestError or StoreError; then it is pushed to
        nobody, unless it is sent again with the same id."""
        message.check()
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._queue.append((message, future))
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        return await future

    def flash(self, message: NewMessage) -> None:
        """Deliver a message here and now, to whoever reads; it is not kept and has no offset."""
        message.check()
        event = messages.Event(message.event, msgspec.Raw(message.data), AUDIENCE, to=message.to)
        line = messages.encode(event)
        for listener in self._reached(message.role, message.to):
            if listener.writable:
                listener.say(line)

    def pulse(self, topic: str, event: str, data: object) -> None:
        """Say something to whoever is subscribed to a topic, if they read. Costs nothing when nobody is."""
        self.pulses.say(topic, event, data)

    def wake(self) -> None:
        """Another daemon may have pushed something."""
        if self._head is not None:
            self._look()

    def resumed(self, listener: Listener) -> None:
        """A connection reads again."""
        if listener.behind is not None and listener not in self._catching:
            task = asyncio.get_running_loop().create_task(self._catch_up(listener))
            self._catching[listener] = task

    def count(self, role: str, to: Address) -> int:
        """How many tabs of this node an event is for, or scripts."""
        return len(self._scripts) if role == Roles.script else self.tree.count(to)

    def stop(self) -> None:
        for task in (self._writing, self._looking, *self._catching.values()):
            if task is not None:
                task.cancel()
        self.pulses.stop()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _somebody(self) -> bool:
        return bool(self._scripts or self.tree.size or self._arriving)

    def _rest(self) -> None:
        """Nobody is there any more: nothing is looked for, until somebody comes."""
        if not self._somebody:
            self._head = None

    def _when_known(self, enter: Callable[[], object], then: Callable[[Head | StokerError], None]) -> None:
        """Enter somebody as soon as the end of all messages is known; at once, if it is."""

        def known(head: Head | StokerError) -> None:
            if isinstance(head, Head):
                enter()
            then(head)

        if self._head is not None:
            known(self._head)
            return
        self._arriving.append(known)
        self._look()

    async def _write(self) -> None:
        """Write what was asked for, many at a time."""
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
                try:
                    places = await self._store.messages.push([message for message, _ in batch])
                except StokerError as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(type(error)(error.message))
                    continue
                for (message, future), place in zip(batch, places, strict=True):
                    self._deliver_own(message, place.offset, place.at)
                    if not future.done():
                        future.set_result(place.offset)
        finally:
            self._writing = None

    def _deliver_own(self, message: NewMessage, offset: int, at: float) -> None:
        head = self._head
        if head is None or offset <= head.offset:
            return
        if offset > head.offset + 1:
            # another daemon's come first
            self._look()
            return
        own = Message(offset, at, message.role, message.to, message.event, msgspec.Raw(message.data))
        self._deliver([own], offset)

    def _look(self) -> None:
        self._stale = True
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look_until_done())

    async def _look_until_done(self) -> None:
        try:
            while self._stale and self._somebody:
                self._stale = False
                try:
                    await self._look_once()
                except StoreError as error:
                    log.error("cannot look for pushed events; trying again", error=error.message)
                    self._tell_arriving(error)
                    self._stale = True
                    await asyncio.sleep(TRY_AGAIN)
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        head = self._head
        if head is None:
            self._head = found = await self._store.messages.head()
            self._tell_arriving(found)
            self._rest()
            # what came while the end was read
            self._stale = True
            return
        page = await self._store.messages.after(head.offset, PAGE, epoch=head.epoch)
        if page.reset:
            self._lost(Head(page.epoch, page.messages[0].offset - 1 if page.messages else page.offset))
        self._deliver(page.messages, page.offset)
        self._stale = self._stale or len(page.messages) >= PAGE

    def _tell_arriving(self, head: Head | StokerError) -> None:
        arriving, self._arriving = self._arriving, []
        for known in arriving:
            known(head)

    def _deliver(self, found: Iterable[Message], end: int) -> None:
        """Say messages, each once and in order; whatever was said before is left out."""
        if self._head is None:
            return
        for message in found:
            if message.offset > self._head.offset:
                self._head = Head(self._head.epoch, message.offset)
                self._say(message)
        if end > self._head.offset:
            self._head = Head(self._head.epoch, end)

    def _say(self, message: Message) -> None:
        line: bytes | None = None
        for listener in self._reached(message.role, message.to):
            if listener.behind is not None:
                continue
            if not listener.writable:
                listener.behind = message.offset - 1
                continue
            line = line or _message_line(message)
            listener.say(line)

    def _reached(self, role: str, to: Address) -> Iterable[Listener]:
        return list(self._scripts) if role == Roles.script else self.tree.find(to)

    def _reaches(self, listener: Listener, message: Message) -> bool:
        if message.role == Roles.script:
            return listener in self._scripts
        return self.tree.holds(listener, message.to)

    def _lost(self, head: Head) -> None:
        """The store was set back, or forgot more than we had read: everybody is told."""
        log.warning("pushed events were lost: the store does not have them any more")
        self._head = head
        for listener in {*self._scripts, *self.tree.find(Address())}:
            if listener.behind is None:
                listener.say(_reset_line(head))

    async def _catch_up(self, listener: Listener) -> None:
        """Read for one connection what it has not been told while it did not read."""
        try:
            while listener.behind is not None and self._head is not None and listener.writable:
                if listener.behind >= self._head.offset:
                    listener.behind = None
                    return
                page = await self._store.messages.after(listener.behind, PAGE, epoch=self._head.epoch)
                if page.reset:
                    listener.say(_reset_line(Head(page.epoch, listener.behind)))
                for message in page.messages:
                    if not listener.writable:
                        return
                    if self._reaches(listener, message):
                        listener.say(_message_line(message))
                    listener.behind = message.offset
                listener.behind = page.offset
        except StoreError as error:
            log.error("cannot read what a slow connection has missed", error=error.message)
            asyncio.get_running_loop().call_later(TRY_AGAIN, self.resumed, listener)
        finally:
            del self._catching[listener]


def _message_line(message: Message) -> bytes:
    at = iso(message.at)
    return messages.encode(messages.Event(message.event, message.data, AUDIENCE, message.offset, message.to, at))


def _reset_line(head: Head) -> bytes:
    data = msgspec.json.encode({"epoch": head.epoch, "offset": head.offset})
    return messages.encode(messages.Event("reset", msgspec.Raw(data), AUDIENCE, head.offset))
