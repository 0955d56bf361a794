"""One browser on the native listener."""

from __future__ import annotations

import asyncio
import http
from collections.abc import Callable
from typing import Any, Protocol, cast
from urllib.parse import unquote

import h11
import structlog
from starlette.types import Message, Scope

from stoker.web import sse
from stoker.web.app import Bridge
from stoker.web.guard import Guard
from stoker.web.hub import Hub
from stoker.web.line import CONNECTION, HEAD_MAX, HEAD_WITHIN, WRITE_WITHIN, shorten, waiting
from stoker.web.native_voice import EVENTS, PLAIN, Speech, Voice
from stoker.web.refusal import body_of
from stoker.web.stream import BATCH, Stream

log = structlog.get_logger(role="web")

BLANK = (b"\r\n\r\n", b"\n\n")


class Host(Protocol):
    """What a connection needs of the listener that took it in."""

    app: Bridge
    hub: Hub
    now: float
    """By the loop's clock, since the last turn."""
    open: set[Connection]
    guarded: Guard

    def queue(self, connection: Connection) -> None:
        """It has something to tell; everyone has their turn."""

    def at_hand(self, connection: Connection) -> bytes:
        """What its stream can be told at once."""


class Connection(asyncio.Protocol):
    """First the head of a request, which goes the way of every request of the bridge; then a stream, whose ``wake`` it
    is: woken, it waits for its turn, and tells what there is. Only what must be asked for runs in a task."""

    __slots__ = (
        "_head", "_listener", "_paused", "_queued", "_ready", "_resumed", "_speech", "_spoke", "_task", "_transport",
        "_unsent", "_woken", "stream", "voice",
    )  # fmt: skip

    def __init__(self, listener: Host) -> None:
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._head: bytearray | None = bytearray()
        self.stream: Stream | None = None
        self.voice: Voice = EVENTS
        self._speech: Speech | None = None
        self._task: asyncio.Task[None] | None = None
        self._resumed: asyncio.Future[None] | None = None
        self._spoke = listener.now
        """When something was sent last, or since when the other side has taken nothing."""
        self._unsent = 0
        self._ready: bytearray | None = None  # of frames: not enough yet to be sent
        self._paused = self._queued = self._woken = False

    # ── the transport ────────────────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        shorten(self._transport)
        self._listener.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._listener.open.discard(self)
        self._transport = None
        if self.stream is not None:
            if self._task is not None:
                self._task.cancel()
            self._listener.hub.close(self.stream)

    def data_received(self, data: bytes) -> None:
        if self._speech is not None:
            self._hear(data)
        elif self._head is not None:
            self._head += data
            if any(blank in self._head for blank in BLANK):
                self._read_head(bytes(self._head))
            elif len(self._head) > HEAD_MAX:
                self._refuse(431, "too_large", f"the head of a request has {HEAD_MAX} bytes at most")

    def pause_writing(self) -> None:
        self._paused, self._unsent = True, 0
        self._spoke = asyncio.get_running_loop().time()
        if self.stream is not None:
            self.stream.busy = True  # what is lossy is left out
        if self._speech is not None and self._transport is not None:
            self._transport.pause_reading()  # who reads no answers is not heard

    def resume_writing(self) -> None:
        self._paused = False
        if self._speech is not None and self._transport is not None:
            self._transport.resume_reading()
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        if self._woken and self._task is None:
            self._queue()

    # ── the bridge's word on the connection (stoker.web.line) ────────────────────────────────────────────────────────

    def when_lost(self, call: Callable[[], None]) -> None:
        """Of no use here: whoever carries a stream closes it."""

    def unsent(self) -> int:
        """How much the other side has not taken."""
        return 0 if self._transport is None else waiting(self._transport)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def carry(self, stream: Stream, *, plain: bool) -> None:
        self.carry_on(stream, PLAIN if plain else EVENTS)

    def carry_on(self, stream: Stream, voice: Voice) -> None:
        """From now on it tells this stream, and closes it when it is lost."""
        if self._transport is None:
            self._listener.hub.close(stream)
            return
        self.stream, self.voice = stream, voice
        # all that topics and streams do with it is to set and to clear it: there is nobody here who waits
        stream.wake = cast(asyncio.Event, self)
        self._woken = True

    # ── the stream's wake ────────────────────────────────────────────────────────────────────────────────────────────

    def set(self) -> None:
        self._woken = True
        if not (self._queued or self._paused) and self._task is None:
            self._queued = True
            self._listener.queue(self)

    def clear(self) -> None:
        self._woken = False

    def _queue(self) -> None:
        if not self._queued:
            self._queued = True
            self._listener.queue(self)

    def tell(self) -> None:
        """Its turn: say what is at hand, and ask for the rest."""
        self._queued = False
        stream = self.stream
        if stream is None or self._transport is None or self._paused or self._task is not None:
            return
        self._woken = False
        self._write(self._listener.at_hand(self))
        if stream.farewell is not None or (not stream.places and not self.voice.hello):
            self._leave(stream)
        elif stream.asks:
            self._task = asyncio.get_running_loop().create_task(self._ask(stream))
        elif any(place.number is not None for place in stream.places.values()):
            self.set()
        stream.busy = self._paused

    def look(self, now: float, tick: float) -> None:
        """Let it go when it is too slow, and show life when there was nothing to say."""
        idle = now - self._spoke
        if self._paused and self._transport is not None:
            unsent = waiting(self._transport)
            if unsent < self._unsent:
                self._spoke = now
            elif idle >= WRITE_WITHIN:
                self.abort()
            self._unsent = unsent
        elif self.stream is None or (self._transport is not None and self._transport.is_closing()):
            if idle >= HEAD_WITHIN:
                self.abort()
        elif idle >= tick and self._task is None:
            self._write(self.voice.tick)

    async def _begin(self, stream: Stream) -> None:
        self._write(self.voice.before())
        if self.voice.hello:
            tick = self._listener.app.settings.web.tick
            self._write(b"".join(map(self.voice.frame, await sse.opening(stream, tick))))

    async def _ask(self, stream: Stream) -> None:
        """What needs the daemon, or is more than can be written at once."""
        ready = self._ready = bytearray()
        try:
            async for frame in stream.frames():
                ready += self.voice.frame(frame)
                if len(ready) > BATCH:
                    self._write(self._taken())
                    await self._taking()
                    if stream.farewell is not None:
                        break
            self._write(self._taken())
        except Exception:
            log.exception("a stream broke; it is cut")
            self.abort()
        self._rest(stream)

    def _rest(self, stream: Stream) -> None:
        """The task is over."""
        self._task = self._ready = None
        if not self._paused and (self._woken or stream.farewell is not None or not stream.places):
            self._queue()

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
            if not self._paused:
                self._spoke = self._listener.now

    def _taken(self) -> bytes:
        """What is made ready to be sent; it is forgotten here."""
        taken = bytes(self._ready or b"")
        if self._ready:
            self._ready.clear()
        return taken

    async def _taking(self) -> None:
        if self._paused:
            self._resumed = asyncio.get_running_loop().create_future()
            await self._resumed
            self._resumed = None

    def _leave(self, stream: Stream) -> None:
        if stream.farewell is not None:
            self._write(self.voice.frame(sse.bye(stream.farewell)))
        if self._speech is not None:
            self._write(self._speech.leave(stream.farewell or ""))
        self._close()

    def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # ── WebSocket ────────────────────────────────────────────────────────────────────────────────────────────────────

    def _hear(self, data: bytes) -> None:
        if self._speech is None or self.stream is None or self._transport is None:
            return
        answers = self._speech.hear(data, self.stream, self._listener.hub)
        # what was made ready comes first: after "unsubscribe" is answered nothing more is said of that topic
        self._write(self._taken() + answers)
        if self._speech.over:
            self._close()

    # ── the request ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _read_head(self, head: bytes) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        try:
            parser.receive_data(head)
            request = parser.next_event()
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint, "protocol", f"not a request: {error}")
            return
        if isinstance(request, h11.Request):
            self._head = None
            self._task = asyncio.get_running_loop().create_task(self._serve(self._scope(request), head))

    def _scope(self, request: h11.Request) -> Scope:
        assert self._transport is not None
        path, _, query = request.target.partition(b"?")
        headers = list(request.headers)
        upgrade = [value.lower() for name, value in headers if name == b"upgrade"]
        socket = upgrade == [b"websocket"] and request.method == b"GET"
        offered = [value for name, value in headers if name == b"sec-websocket-protocol"]
        return {
            "type": "websocket" if socket else "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": request.http_version.decode(),
            "method": request.method.decode(),
            "scheme": "ws" if socket else "http",
            "path": unquote(path.decode("ascii", "replace")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": _place(self._transport.get_extra_info("peername")),
            "server": _place(self._transport.get_extra_info("sockname")),
            "subprotocols": [part.strip() for value in offered for part in value.decode("latin-1").split(",")],
            "extensions": {"websocket.http.response": {}},
            "state": {CONNECTION: self},
        }

    async def _serve(self, scope: Scope, head: bytes) -> None:
        """Answer the request as the application does, until that has opened a stream or said all."""
        first = {"type": "websocket.connect"} if scope["type"] == "websocket" else {"type": "http.request", "body": b""}
        unread = [first]

        async def receive() -> Message:
            return unread.pop() if unread else {"type": scope["type"] + ".disconnect"}

        async def send(message: Message) -> None:
            self._send(message, head)

        try:
            self._listener.app.start()
            await self._listener.guarded(scope, receive, send)
            if self.stream is not None:
                await self._begin(self.stream)
        except Exception:
            log.exception("a request broke")
            self.abort()
        if self.stream is None:
            self._close()
        else:
            self._rest(self.stream)

    def _send(self, message: Message, head: bytes) -> None:
        match message["type"]:
            case "http.response.start" | "websocket.http.response.start":
                self._write(_start(message["status"], message.get("headers", ())))
            case "http.response.body" | "websocket.http.response.body":
                self._write(message.get("body", b""))
            case "websocket.close":  # the guard, before it was opened
                self._refuse(403, "not_allowed", message.get("reason") or "not from there")
            case "websocket.accept":
                self._speech = Speech(message.get("subprotocol"))
                data, agreed = self._speech.greet(head)
                self._write(data)
                if not agreed:
                    raise OSError("no WebSocket came of it")

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._head = None
        body = body_of(code, message)
        kind = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        self._write(_start(status, kind) + body)
        self._close()


def _start(status: int, headers: Any) -> bytes:
    """The head of an answer; the end of the line is the end of the body."""
    phrase = http.HTTPStatus(status).phrase.encode()
    lines = [b"HTTP/1.1 %d %b" % (status, phrase), *(b"%b: %b" % pair for pair in headers), b"connection: close"]
    return b"\r\n".join([*lines, b"", b""])


def _place(name: Any) -> tuple[str, int] | None:
    return (name[0], name[1]) if isinstance(name, tuple) else None
