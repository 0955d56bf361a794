"""Streams and topics: a stream is one open line to a browser, a topic what many of them may follow, and a place is how
far one stream has told one topic.

    topic ──► ring of entries ◄── place ──► stream ──► browser
      ▲                           place ──► stream ──► browser
      └── what the daemon says

Which topics there are is in :mod:`.topics` and :mod:`.audience`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import NamedTuple

import msgspec
import structlog

from stoker.model.errors import DaemonError, RequestError, StoreError
from stoker.web.identity import Caller
from stoker.web.link import Link
from stoker.web.ring import Entry, Ring
from stoker.wire import messages

log = structlog.get_logger(role="web")

TRY_AGAIN = 1.0
BATCH = 64 << 10
"""Bytes that are made ready to be sent at one time."""
KEPT = 64 << 10
"""Bytes of a topic's ring, where it does not say otherwise."""


class Frame(NamedTuple):
    """Something to send: ``kind`` is message, reset, end, hello or bye; ``body`` a JSON object."""

    kind: str
    body: bytes
    cursor: str | None
    """Where the whole stream stands after it; None when it does not move."""


class Place:
    """How far a stream has told a topic. ``number`` is the first entry of the ring that is still to be told, None when
    there is none; while ``behind``, what comes before the ring has to be asked for."""

    __slots__ = ("attached", "behind", "epoch", "joined", "known", "number", "offset", "stream", "topic")

    def __init__(self, stream: Stream, topic: Topic, offset: int | None, epoch: str | None) -> None:
        self.stream, self.topic = stream, topic
        self.offset = offset
        self.epoch = epoch
        self.number: int | None = None
        self.joined = False
        self.behind = False
        self.known = 0
        self.attached: dict[str, int] = {}
        """Tabs in the daemon's tree, and over which connection they came there."""

    def told(self, number: int) -> None:
        """There is something new for this place: the entry of this number."""
        if self.number is None:
            self.number = number
        self.stream.wake.set()

    @property
    def untold(self) -> bool:
        """Whether there is something to tell, now."""
        return self.joined and (self.behind or self.number is not None)


class Topic:
    """A stream of events that many may follow: a ring of the newest, and the places of its readers."""

    kept = KEPT

    def __init__(self, name: str, link: Link) -> None:
        self.name = name
        self.link = link
        self.ring = Ring(self.kept)
        self.places: set[Place] = set()
        self.on_empty: Callable[[Topic], None] | None = None
        """Called when nobody follows it any more."""
        self._lock = asyncio.Lock()

    def add(self, place: Place) -> None:
        """From now on the place hears of what comes."""
        self.places.add(place)

    async def join(self, place: Place) -> str | None:
        """Make sure that the daemon tells us, and that the reader may hear it. The reason when the reader's cursor
        means nothing any more."""
        raise NotImplementedError

    async def replay(self, place: Place) -> tuple[str | None, list[Entry]]:
        """The next page of what comes before the ring; the reason, if some of it is gone."""
        place.behind = False
        return None, []

    def caught_up(self, place: Place) -> None:
        """A page was told."""

    def leave(self, place: Place) -> None:
        """The reader is gone."""
        self.places.discard(place)
        if not self.places and self.on_empty is not None:
            self.on_empty(self)

    def cursor(self, place: Place) -> str:
        return f"{self.name}@{place.offset}"

    def read(self, place: Place) -> list[Entry]:
        """Some of what the ring has for a place, and the place moved on. Nothing, when it fell out of the ring."""
        number = place.number
        if number is None:
            return []
        if number < self.ring.first:
            self.overtaken(place)
            return []
        found, size = [], 0
        for entry in self.ring.since(number):
            number += 1
            if self.wanted(place, entry):
                found.append(entry)
                size += len(entry.body)
                if size > BATCH:
                    break
        place.number = number if number < self.ring.next else None
        return found

    def again(self) -> None:
        """What the daemon was asked for it does not know any more: every reader joins anew."""
        for place in self.places:
            place.joined = False
            place.stream.wake.set()

    def overtaken(self, place: Place) -> None:
        """The ring has moved on."""
        raise NotImplementedError

    def wanted(self, place: Place, entry: Entry) -> bool:
        return True

    def publish(self, entry: Entry) -> None:
        number = self.ring.append(entry)
        for place in self.places:
            place.told(number)

    def heard(self, event: messages.Event) -> None:
        """The daemon says something about this topic."""
        raise NotImplementedError


class Stream:
    """Fed by topics, emptied by the one task that writes to the browser. Nothing is queued here: what was not told yet
    is in the topics' rings, or still where it is kept."""

    __slots__ = ("busy", "caller", "farewell", "id", "instance", "places", "tabs", "until", "until_turn", "wake")

    def __init__(self, caller: Caller, instance: str, tabs: tuple[str, ...] = ()) -> None:
        self.id = secrets.token_urlsafe(16)
        self.caller = caller
        self.until = caller.until
        self.until_turn: float | None = None
        """When it is asked to come again, by the loop's clock."""
        self.instance = instance
        self.tabs = {instance, *tabs}
        self.places: dict[str, Place] = {}
        self.wake = asyncio.Event()
        self.farewell: str | None = None
        """Why it is to be closed."""
        self.busy = False
        """Whether a write is under way, or the last one had to wait: then what is lossy is left out."""

    def close(self, reason: str) -> None:
        """Tell the writer to say good-bye."""
        if self.farewell is None:
            self.farewell = reason
        self.wake.set()

    def cursor(self) -> str:
        """The text from which this stream can be taken up again."""
        return ",".join(place.topic.cursor(place) for place in self.places.values() if place.offset is not None)

    async def prepare(self, seconds: float) -> list[Frame]:
        """Take up the topics, but tell nothing yet; what is refused or lost at once. Gives up after so many seconds:
        the rest is taken up later."""
        found: list[Frame] = []
        try:
            async with asyncio.timeout(seconds):
                for name, place in list(self.places.items()):
                    found += [frame async for frame in self._take_up(name, place)]
        except TimeoutError:
            pass
        self.wake.set()
        return found

    async def frames(self) -> AsyncIterator[Frame]:
        """What there is to tell now; ends when nothing is left. A daemon that is away leaves the rest for later."""
        self.wake.clear()
        tried: set[Place] = set()
        # in turns: one topic of which there is always more does not keep the others back, nor who comes meanwhile
        while places := [(name, one) for name, one in self.places.items() if one not in tried or one.untold]:
            for name, place in places:
                if place not in tried:
                    tried.add(place)
                    async for frame in self._take_up(name, place):
                        yield frame
                elif place.untold:
                    async for frame in self._guarded(name, place, self._advance(name, place)):
                        yield frame

    def at_hand(self) -> Iterator[Frame]:
        """Some of what there is to tell now and nobody has to be asked for, at most :data:`BATCH` bytes and an entry of
        each topic. To be read to its end; see :attr:`asks`."""
        for name, place in list(self.places.items()):
            if place.joined and not place.behind:
                yield from self._read(name, place)

    @property
    def asks(self) -> bool:
        """Whether a topic must still be taken up, or is behind its ring: :meth:`frames` goes on there."""
        return any(not place.joined or place.behind for place in self.places.values())

    async def _take_up(self, name: str, place: Place) -> AsyncIterator[Frame]:
        if not place.joined and self._carries(name, place):
            async for frame in self._guarded(name, place, self._join(name, place)):
                yield frame

    async def _guarded(self, name: str, place: Place, frames: AsyncIterator[Frame]) -> AsyncIterator[Frame]:
        try:
            async for frame in frames:
                yield frame
        except DaemonError:
            place.joined = False  # taken up again as soon as the daemon is back
        except RequestError as error:
            self.drop(name)
            yield self._frame("end", {"topic": name, "reason": error.code})
        except StoreError as error:
            log.warning("a topic cannot be read; trying again", topic=name, error=error.message)
            place.joined = False
            asyncio.get_running_loop().call_later(TRY_AGAIN, self.wake.set)

    def drop(self, name: str) -> None:
        """Carry this topic no longer."""
        place = self.places.pop(name, None)
        if place is not None:
            place.topic.leave(place)

    async def _join(self, name: str, place: Place) -> AsyncIterator[Frame]:
        reason = await place.topic.join(place)
        place.joined = True
        if reason is not None:
            yield self._frame("reset", {"topic": name, "reason": reason})

    def _carries(self, name: str, place: Place) -> bool:
        """Whether the topic is still wanted: what is dropped ends with the frame under way."""
        return self.places.get(name) is place

    async def _advance(self, name: str, place: Place) -> AsyncIterator[Frame]:
        if place.behind and self._carries(name, place):
            reason, entries = await place.topic.replay(place)
            if reason is not None and self._carries(name, place):
                yield self._frame("reset", {"topic": name, "reason": reason})
            for entry in entries:
                if not self._carries(name, place):
                    return
                if entry.offset is not None:
                    place.offset = entry.offset
                yield Frame("message", entry.body, self.cursor())
            place.topic.caught_up(place)
            return
        for frame in self._read(name, place):
            yield frame

    def _read(self, name: str, place: Place) -> Iterator[Frame]:
        for entry in place.topic.read(place):
            if not self._carries(name, place):
                return
            if entry.offset is not None:
                if place.offset is not None and entry.offset <= place.offset:
                    continue
                place.offset = entry.offset
            if entry.kind == "end":
                self.drop(name)
            yield Frame(entry.kind, entry.body, None if entry.offset is None else self.cursor())

    def _frame(self, kind: str, data: dict[str, str]) -> Frame:
        return Frame(kind, msgspec.json.encode(data), self.cursor())
