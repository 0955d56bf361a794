"""The native listener: streams alone, for tens of thousands of browsers, at a few kilobytes each.

The same streams over the same hub, let in by the same gate and guard as those of the ASGI application; but what an open
stream costs is one connection object: no task waits for it, what many get alike is made ready once, and it is written
to all of them in turns.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from typing import NamedTuple

import structlog
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from stoker.web.app import Bridge
from stoker.web.audience import for_everyone
from stoker.web.line import CONNECTION
from stoker.web.native_connection import Connection
from stoker.web.native_voice import Speech, Voice
from stoker.web.refusal import Refusal, answer
from stoker.web.stream import BATCH, Place, Topic
from stoker.web.topics import JobTopic
from stoker.web.websocket import PROTOCOL, Sockets
from stoker.wire.acceptor import Acceptor, accept

log = structlog.get_logger(role="web")

BACKLOG = 4096
AT_ONCE = 500
"""Connections that are served before the loop looks at anything else."""
LOOK_EVERY = 1.0
STREAMS = ("/events", "/jobs/{id}/stream")


class Block(NamedTuple):
    """What was made ready for one connection, and is good for every other that stands at the same place."""

    topic: Topic
    voice: Voice
    epoch: str | None
    number: int
    next: int
    first: int | None
    """The first offset in it: who was told that already needs something else."""
    last: int | None
    data: bytes


class Listener:
    """Native connections on any number of sockets, from :meth:`start` to :meth:`stop`."""

    def __init__(self, app: Bridge) -> None:
        self.app = app
        self.hub = app.hub
        self.now = 0.0
        self.open: set[Connection] = set()
        self._sockets = Sockets(app.auth, app.hub, app.calls)
        self.guarded = app.guarded([*_streams(app), WebSocketRoute("/ws", self._socket), Mount("/", _elsewhere)])
        self._ready: deque[Connection] = deque()
        self._telling = False
        self._block: Block | None = None
        self._acceptors: list[Acceptor] = []
        self._looking: asyncio.Task[None] | None = None

    async def start(self, sockets: list[socket.socket]) -> None:
        """Answer on these sockets."""
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        for sock in sockets:
            sock.listen(BACKLOG)
            self._acceptors.append(accept(loop, sock, lambda: Connection(self)))
        self._looking = loop.create_task(self._look())

    async def stop(self) -> None:
        """Nobody new; who is still there, and was told to go, is cut off."""
        for acceptor in self._acceptors:
            acceptor.close()
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
        for connection in list(self.open):
            connection.abort()

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def queue(self, connection: Connection) -> None:
        """It has something to tell; everyone has their turn."""
        self._ready.append(connection)
        if not self._telling:
            self._telling = True
            asyncio.get_running_loop().call_soon(self._tell)

    def _tell(self) -> None:
        self.now = asyncio.get_running_loop().time()
        ready = self._ready
        for _ in range(min(AT_ONCE, len(ready))):
            connection = ready.popleft()
            try:
                connection.tell()
            except Exception:
                log.exception("a stream broke; it is cut")
                connection.abort()
        if ready:
            asyncio.get_running_loop().call_soon(self._tell)
        else:
            self._telling = False

    def at_hand(self, connection: Connection) -> bytes:
        """What a stream can be told at once."""
        stream, voice = connection.stream, connection.voice
        assert stream is not None
        place = next(iter(stream.places.values())) if len(stream.places) == 1 else None
        if place is None or place.number is None or place.behind or not place.joined:
            return b"".join(map(voice.frame, stream.at_hand()))
        block = self._block
        if (
            block is not None and block.number == place.number and block.topic is place.topic and block.voice is voice
            and block.next == place.topic.ring.next and block.epoch == place.epoch
            and (block.first is None or (place.offset or 0) < block.first)
        ):  # fmt: skip
            place.number = None
            if block.last is not None:
                place.offset = block.last
            return block.data
        return self._made_ready(connection, place)

    def _made_ready(self, connection: Connection, place: Place) -> bytes:
        """The same the long way; kept for the others if they get no less and no more."""
        stream, voice, topic, number = connection.stream, connection.voice, place.topic, place.number
        assert stream is not None
        assert number is not None
        common = _common(place, number)
        before = place.offset or 0
        data = b"".join(map(voice.frame, stream.at_hand()))
        if common is not None and not stream.busy and stream.places.get(topic.name) is place:
            first, last = common
            if first is None or before < first:
                self._block = Block(topic, voice, place.epoch, number, topic.ring.next, first, last, data)
        return data

    # ── looking after them ───────────────────────────────────────────────────────────────────────────────────────────

    async def _look(self) -> None:
        tick = self.app.settings.web.tick
        while True:
            await asyncio.sleep(min(LOOK_EVERY, tick / 4))
            self.now = asyncio.get_running_loop().time()
            for number, connection in enumerate(list(self.open), 1):
                connection.look(self.now, tick)
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)

    # ── WebSockets ───────────────────────────────────────────────────────────────────────────────────────────────────

    async def _socket(self, asking: WebSocket) -> None:
        stream = await self._sockets.open(asking)
        if stream is None:
            return
        connection = asking.scope["state"][CONNECTION]
        try:
            await asking.accept(PROTOCOL if PROTOCOL in asking.scope.get("subprotocols", ()) else None)
        except BaseException:
            self.hub.close(stream)
            raise
        connection.carry_on(stream, Speech.voice)


def _streams(app: Bridge) -> list[BaseRoute]:
    """Those of the application's routes that are served here, too."""
    return [
        route for route in app.routes
        if isinstance(route, Route) and route.path in STREAMS and "GET" in (route.methods or ())
    ]  # fmt: skip


async def _elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    told = "here are streams alone: GET events, GET jobs/ID/stream, ws; for all else ask at web.listen"
    await answer(Refusal(404, "not_found", told))(scope, receive, send)


def _common(place: Place, number: int) -> tuple[int | None, int | None] | None:
    """The first and last offset of what a place is told next, if everyone who stands there is told the same."""
    ring = place.topic.ring
    if number < ring.first:
        return None
    first = last = None
    size = 0
    for entry in ring.since(number):
        size += len(entry.body)
        if entry.kind != "message" or size > BATCH:
            return None
        if not (isinstance(place.topic, JobTopic) or (entry.to is not None and for_everyone(entry))):
            return None
        if entry.offset is not None:
            first = entry.offset if first is None else first
            last = entry.offset
    return first, last
