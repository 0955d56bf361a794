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

import msgspec
import structlog

from stoker.model.audience import Address, Message, NewMessage, Roles, Tab
from stoker.model.errors import StokerError, StoreError
from stoker.router.push.behind import PAGE, TRY_AGAIN, Behind, Listener, message_line, reset_line
from stoker.router.push.pulse import Pulses
from stoker.router.push.tree import Tree
from stoker.store.base import Store
from stoker.store.messages import Head
from stoker.wire import messages
from stoker.wire.topics import AUDIENCE

log = structlog.get_logger(role="router")

BATCH = 100
"""Messages that are written together at most."""
WAKE_EVERY = 0.02
"""Seconds between looks for what others push: at most fifty a second, however much that is; the first is at once."""


class Hub:
    """All tabs of this daemon, and the scripts that listen beside them."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.tree: Tree[Listener] = Tree()
        self.pulses = Pulses()
        self._scripts: set[Listener] = set()
        self._head: Head | None = None
        self._arriving: list[tuple[Listener, Callable[[Head | StokerError], None]]] = []
        """Who waits to be entered until the end of all messages is known, and what is to be done after that."""
        self._queue: list[tuple[NewMessage, asyncio.Future[int]]] = []
        self._writing: asyncio.Task[None] | None = None
        self._stale = False
        self._looking: asyncio.Task[None] | None = None
        self._looked = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._behind = Behind(store, lambda: self._head, self._reaches)

    # ── who is there ─────────────────────────────────────────────────────────────────────────────────────────────────

    def attach(self, listener: Listener, tab: Tab, then: Callable[[Head | StokerError], None]) -> None:
        """Put a tab into the tree. ``then`` is called with the end of what was pushed before, or why that is not known:
        what comes after will be said."""

        self._when_known(listener, lambda: self.tree.attach(listener, tab), then)

    def listen(self, listener: Listener, then: Callable[[Head | StokerError], None]) -> None:
        """Say to a script what is pushed to scripts."""
        self._when_known(listener, lambda: self._scripts.add(listener), then)

    def detach(self, listener: Listener, tab: Tab, then: Callable[[bool], None]) -> None:
        """Take a tab out of the tree; whether it was there."""

        def leave() -> None:
            was = self.tree.detach(listener, tab)
            self._left(listener)
            then(was)

        self._after_others(listener, leave)

    def hush(self, listener: Listener, then: Callable[[bool], None]) -> None:
        """The script listens no more; whether it did."""

        def leave() -> None:
            was = listener in self._scripts
            self._scripts.discard(listener)
            self._left(listener)
            then(was)

        self._after_others(listener, leave)

    def leave(self, listener: Listener) -> None:
        """The connection is gone."""
        self.tree.leave(listener)
        self.pulses.leave(listener)
        self._scripts.discard(listener)
        self._arriving = [one for one in self._arriving if one[0] is not listener]
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
        if self._head is not None and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._looked + WAKE_EVERY), self._look_now)

    def resumed(self, listener: Listener) -> None:
        """A connection reads again."""
        self._behind.resumed(listener)

    def count(self, role: str, to: Address) -> int:
        """How many tabs of this node an event is for, or scripts."""
        return len(self._scripts) if role == Roles.script else self.tree.count(to)

    def stop(self) -> None:
        for pending in (self._timer, self._writing, self._looking):
            if pending is not None:
                pending.cancel()
        self._behind.stop()
        self.pulses.stop()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def _somebody(self) -> bool:
        return bool(self._scripts or self.tree.size or self._arriving)

    def _left(self, listener: Listener) -> None:
        """Who listens to nothing any more is behind with nothing: when it comes again it begins where it comes."""
        if not (listener in self._scripts or self.tree.holds(listener, Address())):
            listener.behind = None

    def _rest(self) -> None:
        """Nobody is there any more: nothing is looked for, until somebody comes."""
        if not self._somebody:
            self._head = None

    def _when_known(
        self, listener: Listener, enter: Callable[[], object], then: Callable[[Head | StokerError], None]
    ) -> None:
        """Enter somebody as soon as the end of all messages is known; at once, if it is."""

        def known(head: Head | StokerError) -> None:
            if isinstance(head, Head):
                enter()
            then(head)

        if self._head is not None:
            known(self._head)
            return
        self._arriving.append((listener, known))
        self._look()

    def _after_others(self, listener: Listener, act: Callable[[], None]) -> None:
        """In turn: what was asked for before comes first."""
        if self._arriving:
            self._arriving.append((listener, lambda _: act()))
        else:
            act()
            self._rest()

    async def _write(self) -> None:
        """Write what was asked for, many at a time."""
        try:
            while self._queue:
                batch, self._queue = self._queue[:BATCH], self._queue[BATCH:]
                try:
                    places = await self._store.messages.push([message for message, _ in batch])
                except Exception as error:
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
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
            self.wake()
            return
        own = Message(offset, at, message.role, message.to, message.event, msgspec.Raw(message.data))
        self._deliver([own], offset)

    def _look_now(self) -> None:
        self._timer = None
        self._looked = asyncio.get_running_loop().time()
        self._look()

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
                except Exception as error:
                    log.error(
                        "cannot look for pushed events; trying again", error=str(error), kind=type(error).__name__
                    )
                    self._tell_arriving(StoreError(f"what is pushed cannot be read: {error}"))
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
        if self._head is None:
            return  # all went meanwhile; who has come since then waits for the end as it is now
        if page.reset:
            self._lost(Head(page.epoch, page.messages[0].offset - 1 if page.messages else page.offset))
        self._deliver(page.messages, page.offset)
        self._stale = self._stale or len(page.messages) >= PAGE

    def _tell_arriving(self, head: Head | StokerError) -> None:
        arriving, self._arriving = self._arriving, []
        for _, act in arriving:
            act(head)

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
            line = line or message_line(message)
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
                listener.say(reset_line(head))
