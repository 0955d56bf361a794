"""All open streams of this process, and the topics they share."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Iterable

from stoker.model import ids
from stoker.model.errors import RequestError
from stoker.settings import Settings
from stoker.web.audience import AudienceTopic
from stoker.web.census import Census
from stoker.web.identity import Caller
from stoker.web.ledger import Ledger
from stoker.web.link import Link
from stoker.web.refusal import Refusal, full
from stoker.web.stream import Place, Stream, Topic
from stoker.web.topics import BRIDGE, JobTopic, PulseTopic
from stoker.wire import messages
from stoker.wire.topics import AUDIENCE, JOBS, STATS, WORKERS

TOPICS_MAX = 500
"""Topics of one stream."""
TABS_MAX = 200
"""Tabs behind one stream."""
CUT_WITHIN = 5.0
"""Seconds within which a stream is cut whose session was revoked."""
SPREAD = 0.2
"""The part of a stream's life by which it may be longer or shorter, so that those who came together do not go so."""
DRAIN_WITHIN, DRAINED_A_SECOND = 2.0, 500
"""How many streams are told to go in a second when the server is stopped, unless that took longer than so many."""
LATE = 0.5
"""Seconds more for the last of them to say good-bye."""


class Hub:
    """Streams come and go; a topic lives as long as somebody follows it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.link = Link(str(settings.socket_path), settings.token, self._heard, self._up)
        self.ledger = Ledger(self.link)
        self._linked = asyncio.Event()
        self.audience = AudienceTopic(AUDIENCE, self.link)
        self._topics: dict[str, Topic] = {AUDIENCE: self.audience}
        self.streams: dict[str, Stream] = {}
        self._census = Census(self.link, lambda: (len(self.streams), self.settings.web.max_streams))
        self.draining = False
        self._drained = asyncio.Event()
        """Set when the last of those who were told to go has gone; they have until then, by the loop's clock."""
        self._drained_by = 0.0
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._linked = asyncio.Event()
        self.draining = False
        self.link.start()
        self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._census.stop()
        await self.link.stop()

    # ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def open(self, caller: Caller, instance: str, tabs: Iterable[str], topics: Iterable[str], after: str) -> Stream:
        """A new stream that carries these topics, each from the place that ``after`` has for it. Raises
        :class:`Refusal`."""
        if self.draining:
            raise full("the server is being stopped; come again in a moment")
        if len(self.streams) >= self.settings.web.max_streams:
            raise full(f"{self.settings.web.max_streams} streams are open; no more are let in")
        stream = Stream(caller, check_instance(instance), tuple(check_instance(tab) for tab in tabs))
        life = self.settings.web.life
        if life > 0:
            stream.until_turn = asyncio.get_running_loop().time() + life * random.uniform(1 - SPREAD, 1 + SPREAD)
        cursors = read_cursors(after)
        for name in topics:
            self.carry(stream, name, cursors.get(name))
        self.streams[stream.id] = stream
        self._census.changed()
        return stream

    def close(self, stream: Stream) -> None:
        """The browser is gone, or was told to go."""
        if self.streams.pop(stream.id, None) is not None:
            self._census.changed()
        for name in list(stream.places):
            self.drop(stream, name)
        if not self.streams:
            self._drained.set()

    def carry(self, stream: Stream, name: str, after: tuple[int, str | None] | None) -> None:
        """Carry one topic more, from a cursor on. Raises :class:`Refusal` for a topic that cannot be."""
        name = check_topic(name)
        if name in stream.places:
            return
        if len(stream.places) >= TOPICS_MAX:
            raise Refusal(422, "refused", f"{TOPICS_MAX} topics are the most one stream carries")
        offset, epoch = after or (None, None)
        topic = self.topic(name)
        place = Place(stream, topic, offset, epoch)
        stream.places[name] = place
        topic.add(place)
        stream.wake.set()

    def drop(self, stream: Stream, name: str) -> bool:
        """Carry a topic no longer; whether it was carried."""
        was = name in stream.places
        stream.drop(name)
        return was

    async def set_tabs(self, stream: Stream, attach: Iterable[str], detach: Iterable[str]) -> None:
        """Which tabs share the stream."""
        place = stream.places.get(AUDIENCE)
        for tab in attach:
            if len(stream.tabs) >= TABS_MAX:
                raise Refusal(422, "refused", f"{TABS_MAX} tabs are the most behind one stream")
            stream.tabs.add(check_instance(tab))
            if place is not None:
                await self.audience.add_tab(place, tab)
        for tab in detach:
            if tab != stream.instance:
                stream.tabs.discard(tab)
                if place is not None:
                    self.audience.remove_tab(place, tab)

    def topic(self, name: str) -> Topic:
        topic = self._topics.get(name)
        if topic is None:
            if name in (STATS, JOBS, WORKERS):
                topic = PulseTopic(name, self.link, for_all=name == JOBS, listed=name != STATS)
            else:
                topic = JobTopic(name, self.link)
            topic.on_empty = self._forget
            self._topics[name] = topic
        return topic

    def renewed(self, caller: Caller) -> None:
        """A session has a newer proof: its streams live as long as that."""
        for stream in self.streams.values():
            if stream.caller.identity == caller.identity and stream.until is not None:
                stream.until = caller.until

    def cut(self) -> None:
        """Close what is not allowed any more, revoked or over, and what has lasted long enough."""
        now, turn = time.time(), asyncio.get_running_loop().time()
        # some say good-bye at once, and are gone
        for stream in list(self.streams.values()):
            who = stream.caller.identity
            if self.ledger.revoked(who.user, who.session, stream.caller.since):
                stream.close("revoked")
            elif stream.until is not None and stream.until <= now:
                stream.close("expired")
            elif stream.until_turn is not None and stream.until_turn <= turn:
                stream.close("turn")

    def drain(self) -> None:
        """Nobody new; who is there is told to come again, one after the other where they are many."""
        if self.draining:
            return
        self.draining = True
        self._drained = asyncio.Event()
        loop, count = asyncio.get_running_loop(), len(self.streams)
        self._drained_by = loop.time() + DRAIN_WITHIN + LATE
        within = min(DRAIN_WITHIN, count / DRAINED_A_SECOND)
        for number, stream in enumerate(list(self.streams.values())):
            loop.call_later(within * number / count, stream.close, "restart")

    async def drained(self) -> None:
        """Wait until all have gone whom :meth:`drain` told to; no longer than that takes, if some do not."""
        if self.streams:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._drained_by):
                    await self._drained.wait()

    # ── within ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _heard(self, event: messages.Event) -> None:
        topic = self._topics.get(event.topic or "")
        if topic is not None:
            topic.heard(event)

    def _up(self) -> None:
        self._linked.set()
        self._census.changed()
        for topic in self._topics.values():
            topic.again()

    def _forget(self, topic: Topic) -> None:
        """At once: whoever follows the same from now on asks for it after this, and hears nothing of before."""
        if self._topics.get(topic.name) is topic:
            del self._topics[topic.name]
            named = {"job": topic.job} if isinstance(topic, JobTopic) else {"topic": topic.name}
            self.link.tell("unsubscribe", named, BRIDGE)

    async def _watch(self) -> None:
        while True:
            self._linked.clear()
            await self.ledger.look()
            self.cut()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(self.settings.web.tick, CUT_WITHIN / 2)):
                    await self._linked.wait()


def check_topic(name: str) -> str:
    """A topic's whole name. Raises :class:`Refusal` when there can be no such topic."""
    if name in (AUDIENCE, STATS, JOBS, WORKERS):
        return name
    head, _, id = name.partition(":")
    try:
        if head == "job":
            return f"job:{ids.job_id(id)}"
    except RequestError:
        pass
    known = f"{AUDIENCE}, {JOBS}, {STATS}, {WORKERS}, job:ID"
    raise Refusal(422, "refused", f"there is no topic {name[:100]!r}; there are {known}")


def check_instance(name: str) -> str:
    """Raises :class:`Refusal`."""
    if not 0 < len(name) <= 256 or "\0" in name:
        raise Refusal(422, "refused", "instance: the id of a tab has 1 to 256 characters")
    return name


def read_cursors(text: str) -> dict[str, tuple[int, str | None]]:
    """``audience@epoch.offset,job:ID@offset`` as offsets and epochs by topic; what is not understood counts for
    nothing, as with a cursor of another time."""
    found: dict[str, tuple[int, str | None]] = {}
    for part in text.split(",")[: 2 * TOPICS_MAX]:
        name, _, place = part.strip().rpartition("@")
        epoch, _, offset = place.rpartition(".")
        if name and offset.isdecimal() and offset.isascii() and len(offset) < 19:
            found[name] = (int(offset), epoch or None)
    return found
