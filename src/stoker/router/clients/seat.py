"""What one connection has asked to be told: events of jobs, pulses, and what is pushed to the tabs behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import msgspec
import structlog

from stoker.model import ids
from stoker.model.audience import Tab
from stoker.model.errors import NotAllowed, RequestError, StokerError
from stoker.router.house import House
from stoker.router.methods import scope, table
from stoker.router.push import pulse
from stoker.store.messages import Head
from stoker.wire import messages
from stoker.wire.messages import Offset, Who
from stoker.wire.records import event_record
from stoker.wire.topics import AUDIENCE

log = structlog.get_logger(role="router")

SUBSCRIPTIONS_MAX = 10_000
"""Jobs that one connection may follow at one time."""
Reply: TypeAlias = Callable[[Any], None]
"""Called with the answer to a call, or with the StokerError that it is."""


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    job: str | None = None
    after: Offset = 0
    topic: str | None = None


class Streams(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Open streams of browsers behind a bridge, and how many there may be."""

    open: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
    max: Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Once:
    """An answer that is given once; whatever comes later is left out."""

    def __init__(self, reply: Reply) -> None:
        self._reply: Reply | None = reply

    def __call__(self, value: Any) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply(value)


class Seat:
    """The place of one connection. ``say`` sends a line, ``writable`` is cleared while the other side does not read."""

    def __init__(self, house: House, role: str, say: Callable[[bytes], None], writable: asyncio.Event) -> None:
        self._house = house
        self._role = role
        self._send = say
        self._writable = writable
        self._following: dict[str, asyncio.Task[None]] = {}
        self._listens = False
        # not a task each: a bridge that comes back has thousands of tabs
        self.at_once = {
            "attach": self._attach, "detach": self._detach, "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe, "streams": self._streams,
        }  # fmt: skip
        self.behind: int | None = None

    @property
    def occupied(self) -> bool:
        """Whether something may be said here unasked, so that silence has to mean something."""
        return self._listens or bool(self._following)

    @property
    def writable(self) -> bool:
        return self._writable.is_set()

    def say(self, line: bytes) -> None:
        self._send(line)

    def leave(self) -> None:
        """The connection is gone."""
        for task in self._following.values():
            task.cancel()
        self._house.hub.leave(self)
        self._house.figures.streams.pop(self, None)

    def resumed(self) -> None:
        """The other side reads again."""
        self._house.hub.resumed(self)

    # ── tabs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _attach(self, call: messages.Call, reply: Reply) -> None:
        """Put a tab into the tree; counted: attached twice, it is to be detached twice."""
        self._listens = True
        self._house.hub.attach(self, self._tab(call), lambda head: reply(_place(head)))

    def _detach(self, call: messages.Call, reply: Reply) -> None:
        self._house.hub.detach(self, self._tab(call), reply)

    def _tab(self, call: messages.Call) -> Tab:
        self._allowed(call)
        tab: Tab = table.read(Tab, call.params)
        tab.check()
        return tab

    def _streams(self, call: messages.Call, reply: Reply) -> None:
        """Keep in the figures how many there are, until this connection ends."""
        self._allowed(call)
        told: Streams = table.read(Streams, call.params)
        self._house.figures.streams[self] = told.open, told.max
        reply(None)

    # ── topics ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _subscribe(self, call: messages.Call, reply: Reply) -> None:
        """Events of a job from a cursor on, ended by an ``end`` event; or those of a topic, as they come."""
        who = self._allowed(call)
        wanted: Subscription = table.read(Subscription, call.params)
        if wanted.topic is not None:
            self._enter(_only_topic(wanted), who, reply)
            return
        id = ids.job_id(_job(wanted))
        if id in self._following:
            self._following.pop(id).cancel()
        elif len(self._following) >= SUBSCRIPTIONS_MAX:
            raise NotAllowed(f"{SUBSCRIPTIONS_MAX} jobs are followed on this connection; unsubscribe from some")
        # entered at once, so that what is asked in one breath is done in turn; answered also to who left meanwhile
        answer = _Once(reply)
        task = asyncio.get_running_loop().create_task(self._look_up(id, wanted.after, who, answer))
        task.add_done_callback(lambda _: answer({"topic": f"job:{id}"}))
        self._following[id] = task

    def _unsubscribe(self, call: messages.Call, reply: Reply) -> None:
        """Answers whether there was a subscription."""
        who = self._allowed(call)
        wanted: Subscription = table.read(Subscription, call.params)
        hub = self._house.hub
        if wanted.topic == AUDIENCE:
            hub.hush(self, reply)
        elif wanted.topic is not None:
            reply(hub.pulses.unsubscribe(_only_topic(wanted), _of(who), self))
        else:
            task = self._following.pop(ids.job_id(_job(wanted)), None)
            reply(task is not None and task.cancel())

    def _enter(self, topic: str, who: Who | None, reply: Reply) -> None:
        hub = self._house.hub
        self._listens = True
        if topic == AUDIENCE:
            if self._role == "web":
                raise NotAllowed("what is pushed to browsers comes to the tabs that are attached")
            hub.listen(self, lambda head: reply(_place(head, topic=topic)))
            return
        if topic not in pulse.SEEN_BY_ALL and who is not None and not who.all:
            raise NotAllowed(f"{topic} is for those who may see everything")
        hub.pulses.subscribe(topic, _of(who), self)
        reply({"topic": topic})

    def _allowed(self, call: messages.Call) -> Who | None:
        table.check_role(call.method, self._role, table.ON_THE_LINE[call.method])
        return scope.checked(call.who, self._role)

    async def _look_up(self, job: str, after: int, who: Who | None, answer: Reply) -> None:
        """Answer, and follow the job; what is said comes after the answer."""
        try:
            if self._role == "web":
                await scope.seen(self._house, who, job)
            else:
                await self._house.store.get(job)
        except StokerError as error:
            self._forget(job)
            answer(error)
        except Exception:
            log.exception("a call failed by our own fault", method="subscribe")
            self._forget(job)
            answer(StokerError("the daemon made a mistake; its log says more"))
        else:
            answer({"topic": f"job:{job}"})
            await self._follow(job, after)

    async def _follow(self, job: str, after: int) -> None:
        topic = f"job:{job}"
        try:
            async for event in self._house.audience.follow(job, after):
                after = event.seq
                data = msgspec.Raw(msgspec.json.encode(event_record(event)))
                self._send(messages.encode(messages.Event(str(event.kind), data, topic, event.seq)))
                await self._writable.wait()
            data = msgspec.Raw(b"null")
        except StokerError as error:
            # about this topic alone: whatever else is under way here goes on
            data = msgspec.Raw(msgspec.json.encode(messages.Mishap(error.code, error.message)))
        finally:
            self._forget(job)
        self._send(messages.encode(messages.Event("end", data, topic, after)))

    def _forget(self, job: str) -> None:
        """This task follows it no more; another may by now."""
        if self._following.get(job) is asyncio.current_task():
            del self._following[job]


def _place(head: Head | StokerError, **more: str) -> Any:
    return {**more, "epoch": head.epoch, "offset": head.offset} if isinstance(head, Head) else head


def _of(who: Who | None) -> str | None:
    """Whose jobs a subscription is about; None: anybody's."""
    return None if who is None or who.all else who.user


def _job(wanted: Subscription) -> str:
    if wanted.job is None:
        raise RequestError("name a job, or a topic")
    return wanted.job


def _only_topic(wanted: Subscription) -> str:
    assert wanted.topic is not None
    if wanted.job is not None:
        raise RequestError("name a job or a topic, not both")
    known = (*pulse.TOPICS, AUDIENCE)
    if wanted.topic not in known:
        raise RequestError(f"there is no topic {wanted.topic!r}; there are {', '.join(known)}, and each job by its id")
    return wanted.topic
