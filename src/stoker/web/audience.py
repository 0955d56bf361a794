"""The topic of what is pushed to people."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import msgspec

from stoker.model.audience import EVERYBODY, Address, Tab
from stoker.model.errors import DaemonError
from stoker.web.identity import Identity
from stoker.web.link import Link
from stoker.web.ring import Entry
from stoker.web.stream import Place, Topic
from stoker.web.topics import PAGE, Told
from stoker.wire import messages
from stoker.wire.records import MessageRecord

AUDIENCE_KEPT = 1 << 20
"""Bytes of its ring."""


class Head(msgspec.Struct):
    """Where the row of pushed events ends."""

    epoch: str
    offset: int


class Page(msgspec.Struct):
    """Pushed events beyond a cursor."""

    epoch: str
    offset: int
    reset: bool
    messages: list[MessageRecord]


def matches(to: Address | None, who: Identity, tabs: set[str]) -> bool:
    """Whether something is meant for one of these tabs."""
    if to is None:
        return True
    return (
        to.user in (EVERYBODY, who.user)
        and (to.session is None or to.session == who.session)
        and (to.instance is None or to.instance in tabs)
    )


def for_everyone(entry: Entry) -> bool:
    """Whether it is meant for whoever follows."""
    to = entry.to
    return to is None or (to.user == EVERYBODY and to.session is None and to.instance is None)


class AudienceTopic(Topic):
    """What is pushed to people: each reader gets what is meant for one of its tabs."""

    kept = AUDIENCE_KEPT

    def __init__(self, name: str, link: Link) -> None:
        super().__init__(name, link)
        self._by_user: dict[str, set[Place]] = {}
        self._detaching: set[asyncio.Task[None]] = set()

    def add(self, place: Place) -> None:
        super().add(place)
        self._by_user.setdefault(place.stream.caller.identity.user, set()).add(place)

    def leave(self, place: Place) -> None:
        if place not in self.places:
            return
        super().leave(place)
        user = place.stream.caller.identity.user
        mine = self._by_user[user]
        mine.discard(place)
        if not mine:
            del self._by_user[user]
        for tab in list(place.attached):
            self.remove_tab(place, tab)

    async def join(self, place: Place) -> str | None:
        place.attached.clear()
        head = await self._attach(place, place.stream.instance)
        for tab in place.stream.tabs - {place.stream.instance}:
            head = await self._attach(place, tab)
        known, place.epoch = place.epoch, head.epoch
        place.known = head.offset
        if place.offset is None:
            place.offset = head.offset
            return None
        if known not in (None, head.epoch) or place.offset > head.offset:
            place.offset = head.offset
            return "epoch"
        place.behind = place.offset < head.offset
        return None

    async def add_tab(self, place: Place, tab: str) -> None:
        """A tab shares this stream from now on."""
        place.stream.tabs.add(tab)
        if place.joined and tab not in place.attached:
            await self._attach(place, tab)

    def remove_tab(self, place: Place, tab: str) -> None:
        """It does no longer. What a connection has attached goes with it."""
        if tab in place.attached:
            self._detach_soon(self._tab(place, tab), place.attached.pop(tab))

    async def replay(self, place: Place) -> tuple[str | None, list[Entry]]:
        who = place.stream.caller.identity
        params: dict[str, Any] = {"after": place.offset, "limit": PAGE, "epoch": place.epoch}
        if len(place.stream.tabs) == 1:
            params["to"] = self._tab(place, place.stream.instance)
        page = await self.link.get(Page, "messages", params)
        place.known = max(place.known, page.offset) if len(page.messages) < PAGE else page.offset
        place.behind = len(page.messages) == PAGE
        entries = [self._entry(one.event, one.data, one.to, one.offset, one.at) for one in page.messages]
        return "gone" if page.reset else None, [one for one in entries if matches(one.to, who, place.stream.tabs)]

    def caught_up(self, place: Place) -> None:
        place.offset = max(place.offset or 0, place.known)

    def overtaken(self, place: Place) -> None:
        place.number, place.behind = None, True

    def cursor(self, place: Place) -> str:
        epoch = "" if place.epoch is None else f"{place.epoch}."
        return f"{self.name}@{epoch}{place.offset}"

    def wanted(self, place: Place, entry: Entry) -> bool:
        return matches(entry.to, place.stream.caller.identity, place.stream.tabs)

    def heard(self, event: messages.Event) -> None:
        if event.event == "reset":
            self.again()
        elif event.to is not None:
            self.publish(self._entry(event.event, event.data, event.to, event.offset, event.at))

    def publish(self, entry: Entry) -> None:
        number = self.ring.append(entry)
        user = EVERYBODY if entry.to is None else entry.to.user
        everyone = for_everyone(entry)
        for place in self.places if user == EVERYBODY else self._by_user.get(user, ()):
            if everyone or self.wanted(place, entry):
                place.told(number)

    def _entry(self, name: str, data: msgspec.Raw, to: Address, offset: int | None, at: str | None) -> Entry:
        told = Told(self.name, name, offset, data, at, msgspec.UNSET, to)
        return Entry(msgspec.json.encode(told), offset, "message", to)

    def _tab(self, place: Place, tab: str) -> Tab:
        who = place.stream.caller.identity
        return Tab(who.user, who.session, tab)

    async def _attach(self, place: Place, tab: str) -> Head:
        line = self.link.number
        asked = asyncio.ensure_future(self.link.get(Head, "attach", self._tab(place, tab)))
        try:
            head = await asyncio.shield(asked)
        except asyncio.CancelledError:
            # it may have been done all the same
            asked.add_done_callback(lambda _: self._take_back(asked, self._tab(place, tab), line))
            raise
        if place not in self.places or tab not in place.stream.tabs:
            await self._detach(self._tab(place, tab))  # it went while it came
        else:
            place.attached[tab] = line
        return head

    def _take_back(self, asked: asyncio.Future[Head], tab: Tab, line: int) -> None:
        """Nobody waits for this answer any more."""
        if not asked.cancelled() and asked.exception() is None:
            self._detach_soon(tab, line)

    def _detach_soon(self, tab: Tab, line: int) -> None:
        """Of the connection over which it came; another one knows nothing of it."""
        if line == self.link.number and self.link.up:
            task = asyncio.get_running_loop().create_task(self._detach(tab))
            self._detaching.add(task)
            task.add_done_callback(self._detaching.discard)

    async def _detach(self, tab: Tab) -> None:
        with contextlib.suppress(DaemonError):  # a connection that ends takes its tabs along
            await self.link.ask("detach", tab)
