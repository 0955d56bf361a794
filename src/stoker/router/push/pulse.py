"""Topics of which only the present matters: whoever does not read misses it, and nothing is kept.

    sys-stats        the newest figures
    jobs             something about a job changed: {"job", "status", "command"}; for lists
    workers          a worker that stays came into a state: {"pid", "product", "isolation", "state", "how"}

What happens is gathered for :data:`GATHER` seconds, of jobs the last word about each, of workers every one in order;
when that is too much to tell one by one, or happened to jobs on another node, the event ``look`` says only that a list
is out of date.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from stoker.model.audience import Address
from stoker.wire import messages
from stoker.wire.topics import JOBS, STATS, WORKERS

TOPICS = (STATS, JOBS, WORKERS)
SEEN_BY_ALL = (JOBS,)
"""Topics that people may follow who do not see everything: of what is theirs."""

GATHER = 0.05
ONE_BY_ONE = 100
"""Jobs, or transitions of workers, that are told of in one gathering at most."""
LOOK_EVERY = 1.0
"""Seconds between two ``look`` that other nodes cause."""


class Listener(Protocol):
    """A connection that pulses go to."""

    @property
    def writable(self) -> bool:
        """Whether it reads what it is sent."""

    def say(self, line: bytes) -> None:
        """Send a line."""


class Pulses:
    """Who is subscribed to what. ``user`` None: to what concerns anybody."""

    def __init__(self) -> None:
        self._listeners: dict[str, dict[str | None, set[Listener]]] = {}
        self._of: dict[Listener, set[tuple[str, str | None]]] = {}
        self._changed: dict[str, tuple[str, str, str | None]] = {}
        self._transitions: list[dict[str, Any]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    def wanted(self, topic: str) -> bool:
        """Whether anybody is subscribed to it."""
        return topic in self._listeners

    def subscribe(self, topic: str, user: str | None, listener: Listener) -> None:
        self._listeners.setdefault(topic, {}).setdefault(user, set()).add(listener)
        self._of.setdefault(listener, set()).add((topic, user))

    def unsubscribe(self, topic: str, user: str | None, listener: Listener) -> bool:
        """Whether there was a subscription."""
        mine = self._of.get(listener, set())
        if (topic, user) not in mine:
            return False
        mine.discard((topic, user))
        if not mine:
            del self._of[listener]
        users = self._listeners[topic]
        users[user].discard(listener)
        if not users[user]:
            del users[user]
        if not users:
            del self._listeners[topic]
        return True

    def leave(self, listener: Listener) -> None:
        """The connection is gone."""
        for topic, user in list(self._of.get(listener, ())):
            self.unsubscribe(topic, user, listener)

    def say(self, topic: str, event: str, data: Any, user: str | None = None) -> None:
        """Tell who is there and reads."""
        listeners = self._whom(topic, user)
        if listeners:
            to = None if user is None else Address(user)
            line = messages.encode(messages.Event(event, msgspec.Raw(msgspec.json.encode(data)), topic, to=to))
            for listener in listeners:
                if listener.writable:
                    listener.say(line)

    def job(self, id: str, status: str, command: str, user: str | None, *, born: bool = False) -> None:
        """Something about a job changed. ``born``: it was stored just now, and may have gone further already."""
        if self.wanted(JOBS):
            if not (born and id in self._changed):
                self._changed[id] = (status, command, user)
            self._tell_soon()

    def worker(self, pid: int | None, product: str, isolation: str, state: str, how: str | None) -> None:
        """A worker that stays has come into a state."""
        if self.wanted(WORKERS):
            if len(self._transitions) <= ONE_BY_ONE:
                told = {"pid": pid, "product": product, "isolation": isolation, "state": state, "how": how}
                self._transitions.append(told)
            self._tell_soon()

    def elsewhere(self) -> None:
        """Something about any job may have changed on another node."""
        if self._look_timer is None and self.wanted(JOBS):
            self._look_timer = asyncio.get_running_loop().call_later(LOOK_EVERY, self._look_now)

    def stop(self) -> None:
        for timer in (self._timer, self._look_timer):
            if timer is not None:
                timer.cancel()

    def _whom(self, topic: str, user: str | None) -> Iterable[Listener]:
        users = self._listeners.get(topic, {})
        everything = users.get(None, set())
        return list(everything if user is None else everything | users.get(user, set()))

    def _tell_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._tell)

    def _tell(self) -> None:
        self._timer = None
        transitions, self._transitions = self._transitions, []
        if len(transitions) > ONE_BY_ONE:
            self._look(WORKERS)
        else:
            for told in transitions:
                self.say(WORKERS, "worker", told)
        changed, self._changed = self._changed, {}
        if len(changed) > ONE_BY_ONE:
            self._look(JOBS)
            return
        for id, (status, command, user) in changed.items():
            self.say(JOBS, "job", {"job": id, "status": status, "command": command}, user)

    def _look_now(self) -> None:
        self._look_timer = None
        self._look(JOBS)

    def _look(self, topic: str) -> None:
        line = messages.encode(messages.Event("look", msgspec.Raw(b"null"), topic))
        for listener in {one for found in self._listeners.get(topic, {}).values() for one in found}:
            if listener.writable:
                listener.say(line)
