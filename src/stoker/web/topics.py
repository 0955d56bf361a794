"""Topics: streams of events that many browsers may follow, each asked of the daemon once."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import structlog

from stoker.model.audience import Address
from stoker.model.errors import DaemonError, NotAllowed, RequestError, StokerError, UnknownJob
from stoker.model.event import EventKind
from stoker.model.job import ENDED
from stoker.web.identity import Identity
from stoker.web.link import Link
from stoker.web.ring import Entry
from stoker.web.stream import TRY_AGAIN, Place, Topic
from stoker.wire import messages
from stoker.wire.messages import Who
from stoker.wire.records import EventRecord, event_outside

log = structlog.get_logger(role="web")

JOB_KEPT = 256 << 10
"""Bytes of a job's ring; who is further behind asks the daemon."""
PAGE = 200
"""Events that are asked for at one time."""
GONE = "gone"
"""Why a cursor means nothing: what came after it is not kept any more."""
BRIDGE = Who("stoker", level="viewer")
"""Whom the bridge asks as when it asks for itself; who may hear the answer is judged here."""


class Told(msgspec.Struct):
    """An event as browsers get it."""

    topic: str
    event: str
    offset: int | None
    data: msgspec.Raw
    at: str | msgspec.UnsetType | None = msgspec.UNSET
    attempt: int | msgspec.UnsetType = msgspec.UNSET
    to: Address | msgspec.UnsetType = msgspec.UNSET


class JobTopic(Topic):
    """What one job says, from the store: replayed from any offset, and ended."""

    kept = JOB_KEPT

    def __init__(self, name: str, link: Link) -> None:
        super().__init__(name, link)
        self.job = name.removeprefix("job:")
        self._owner: str | None = None
        self._known = False
        self._line = 0
        """The connection that tells us; over another one it has to be asked for anew."""
        self._asked = False
        """Whether what is heard is for us: until we have asked, it was for those who followed the job before."""
        self._over = False
        """All was told. Who still reads does so from the ring and the store."""
        self._subscribing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None

    async def check(self, who: Identity) -> None:
        """Raises :class:`UnknownJob` unless the job is this user's."""
        async with self._lock:
            if not self._known:
                record = await self.link.get(dict[str, Any], "job", {"job": self.job}, BRIDGE)
                self._owner, self._known = record["user"], True
        if not (who.all or self._owner == who.user):
            raise UnknownJob(f"there is no job {self.job}")

    async def over(self, after: int) -> bool:
        """Whether the job has ended, and said nothing beyond this offset; False, too, where some of that is gone."""
        record = await self.link.get(dict[str, Any], "job", {"job": self.job}, BRIDGE)
        if record["status"] not in ENDED:
            return False
        lost, more = await self._after(after, 1)
        return not (lost or more)

    async def join(self, place: Place) -> str | None:
        await self.check(place.stream.caller.identity)
        place.offset = place.offset or 0
        async with self._lock:
            if self._line != self.link.number and not self._over:
                await self._subscribed(place.offset)
        lost = place.offset > self.ring.newest and (await self._after(place.offset, 1))[0]
        if lost:
            place.offset = 0
        self._take_up(place)
        return GONE if lost else None

    async def _subscribed(self, offset: int) -> None:
        """:meth:`_subscribe`, carried through also when the reader for whom it was begun has gone, or waits no longer:
        asked twice, it would be told from two places at one time."""
        if self._subscribing is None:
            self._subscribing = asyncio.get_running_loop().create_task(self._subscribe(offset))
            self._subscribing.add_done_callback(self._done)
        await asyncio.shield(self._subscribing)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._subscribing = None
        if not task.cancelled():
            task.exception()  # whoever still waits is told

    async def _subscribe(self, offset: int) -> None:
        """Have the daemon tell what comes after all that the ring has had; or, as nothing has been asked for yet, after
        this offset. When some of it is gone meanwhile, the ring begins anew, with what is kept."""
        line = self.link.number
        after = self.ring.newest if self._line else offset
        if after and (await self._after(after, 1))[0]:
            after = 0
        if self._line == 0 or after == 0:
            self.ring.begin(after)
        if self.places:  # else all went meanwhile, and the next who comes asks as another topic
            self._asked = True
            await self.link.ask("subscribe", {"job": self.job, "after": after}, BRIDGE)
            self._line = line

    async def _after(self, offset: int, limit: int) -> tuple[bool, list[EventRecord]]:
        """What the job said beyond an offset, and whether some of that is gone: the event of the offset itself is asked
        for, too, because the oldest go first, and while it is kept so is all that followed. A cursor that nobody was
        given, or that is of another store, is found out in the same way."""
        if offset == 0:
            params = {"job": self.job, "after": 0, "limit": limit}
            return False, await self.link.get(list[EventRecord], "events", params, BRIDGE)
        params = {"job": self.job, "after": offset - 1, "limit": limit + 1}
        found = await self.link.get(list[EventRecord], "events", params, BRIDGE)
        if found and found[0].offset == offset:
            return False, found[1:]
        return True, found[:limit]

    def read(self, place: Place) -> list[Entry]:
        found = super().read(place)
        return conflated(found) if place.stream.busy else found

    def _take_up(self, place: Place) -> None:
        assert place.offset is not None
        place.behind = place.offset < self.ring.floor
        place.number = None if place.behind else self.ring.number_after(place.offset)

    async def replay(self, place: Place) -> tuple[str | None, list[Entry]]:
        assert place.offset is not None
        lost, found = await self._after(place.offset, PAGE)
        if lost:
            place.offset = 0
        place.known = found[-1].offset if len(found) == PAGE else self.ring.floor
        return GONE if lost else None, conflated([self._entry(record) for record in found])

    def caught_up(self, place: Place) -> None:
        place.offset = max(place.offset or 0, place.known)
        self._take_up(place)

    def overtaken(self, place: Place) -> None:
        place.number, place.behind = None, True

    def leave(self, place: Place) -> None:
        super().leave(place)
        if not self.places:
            self._leave_end()

    def heard(self, event: messages.Event) -> None:
        if not self._asked:
            return
        if event.event == "end" and bytes(event.data) != b"null":
            told = msgspec.json.decode(event.data)
            self._publish_end({"topic": self.name, "reason": told["error"]})
            return
        if event.event == "end":
            self._leave_end()
            self._ending = asyncio.get_running_loop().create_task(self._end())
            return
        record = msgspec.json.decode(event.data, type=EventRecord)
        if record.offset > self.ring.newest:
            self.publish(self._entry(record))

    def _leave_end(self) -> None:
        if self._ending is not None:
            self._ending.cancel()

    async def _end(self) -> None:
        """All is told; how it ended is asked for, so that nobody has to ask again."""
        while True:
            try:
                record = await self.link.get(dict[str, Any], "job", {"job": self.job}, BRIDGE)
            except DaemonError:
                return  # the next connection tells it again
            except RequestError as error:
                self._publish_end({"topic": self.name, "reason": error.code})
                return
            except StokerError as error:
                log.warning("how a job ended is not known; trying again", job=self.job, error=error.message)
                await asyncio.sleep(TRY_AGAIN)
            else:
                self._publish_end({"topic": self.name, "status": record["status"]})
                return

    def _publish_end(self, told: dict[str, str]) -> None:
        """Who follows it from now on begins a new topic: the job may run again."""
        self._over = True
        self.publish(Entry(msgspec.json.encode(told), None, "end"))
        if self.on_empty is not None:
            self.on_empty(self)

    def _entry(self, record: EventRecord) -> Entry:
        # one entry for all who follow it, whatever they may see
        told = Told(self.name, record.kind, record.offset, event_outside(record).data, record.at, record.attempt)
        return Entry(msgspec.json.encode(told), record.offset, state=record.kind == EventKind.PROGRESS)


def conflated(entries: list[Entry]) -> list[Entry]:
    """The same for one who is behind: of what tells a state the last, of all else each."""
    last = next((entry for entry in reversed(entries) if entry.state), None)
    return [entry for entry in entries if entry is last or not entry.state]


class PulseTopic(Topic):
    """Of which only the present matters. Nothing is kept: who does not read as fast as it comes is told the newest
    figures, or, of many things that are ``listed``, to look at them all."""

    def __init__(self, name: str, link: Link, *, for_all: bool, listed: bool) -> None:
        super().__init__(name, link)
        self._for_all = for_all
        self._listed = listed
        self._line = 0

    async def join(self, place: Place) -> str | None:
        if not (self._for_all or place.stream.caller.identity.all):
            raise NotAllowed(f"{self.name} is for those who may see everything")
        async with self._lock:
            if self._line != self.link.number:
                line = self.link.number
                if self.places:
                    await self.link.ask("subscribe", {"topic": self.name}, BRIDGE)
                    self._line = line
        return None

    def read(self, place: Place) -> list[Entry]:
        if place.number is None or not (place.stream.busy or place.number < self.ring.first):
            return super().read(place)
        place.number = None
        return [self._entry("look", msgspec.Raw(b"null"), None) if self._listed else self.ring.last]

    def wanted(self, place: Place, entry: Entry) -> bool:
        who = place.stream.caller.identity
        return who.all or entry.to is None or entry.to.user == who.user

    def heard(self, event: messages.Event) -> None:
        self.publish(self._entry(event.event, event.data, event.to))

    def _entry(self, name: str, data: msgspec.Raw, to: Address | None) -> Entry:
        return Entry(msgspec.json.encode(Told(self.name, name, None, data)), None, "message", to)
