"""Server-Sent Events: what most browsers get."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import msgspec
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from stoker.web.guard import LATER
from stoker.web.hub import Hub
from stoker.web.line import Carrier, Line, line, sent
from stoker.web.stream import BATCH, Frame, Stream
from stoker.web.topics import Told
from stoker.wire.topics import AUDIENCE

TICK = b":\n\n"
RETRY = (1000, 4000)
"""Milliseconds after which a browser comes again by itself; by chance, so that not all come at once."""
RETRY_TURN = (50, 500)
"""The same, for one of whose stream it was the turn: others have another."""
COME_AGAIN = {"restart": RETRY, "turn": RETRY_TURN}
"""Reasons for which a browser is only asked to come again."""
HELLO_WITHIN = 1.5
"""Seconds that the first event waits for the daemon; browsers take longer silence for a proxy that keeps it back."""
HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
}
Encode = Callable[[Frame], bytes]


def encode(frame: Frame) -> bytes:
    """A frame of a stream of several topics."""
    if frame.kind == "bye":
        return parting(frame)
    mark = b"" if frame.cursor is None else b"id: %b\n" % frame.cursor.encode()
    return b"event: %b\n%bdata: %b\n\n" % (frame.kind.encode(), mark, frame.body)


def encode_plain(frame: Frame) -> bytes:
    """A frame of one job's stream, for an EventSource that knows nothing of topics."""
    if frame.kind == "bye":
        return parting(frame)
    if frame.kind != "message":
        # after a loss all that is kept was told anew: who comes again must not ask from where nothing is any more
        mark = b"id: 0\n" if frame.kind == "reset" else b""
        return b"event: %b\n%bdata: %b\n\n" % (frame.kind.encode(), mark, frame.body)
    told = msgspec.json.decode(frame.body, type=Told)
    return b"event: %b\nid: %d\ndata: %b\n\n" % (told.event.encode(), told.offset or 0, bytes(told.data))


def hello(stream: Stream, tick: float) -> dict[str, object]:
    """What a stream begins with."""
    place = stream.places.get(AUDIENCE)
    return {
        "stream": stream.id,
        "epoch": place.epoch if place is not None else None,
        "offset": place.offset if place is not None else None,
        "tick": tick,
        "instance": stream.instance,
        "user": stream.caller.identity.user,
        "expires": None if stream.until is None else round(stream.until - time.time(), 3),
    }


async def opening(stream: Stream, tick: float) -> list[Frame]:
    """``hello``, and what is refused at once."""
    early = await stream.prepare(HELLO_WITHIN)
    return [Frame("hello", msgspec.json.encode(hello(stream, tick)), stream.cursor() or None), *early]


class Bye(msgspec.Struct):
    """The last word. ``retry``: milliseconds, for whoever is only asked to come again."""

    reason: str
    retry: int | msgspec.UnsetType = msgspec.UNSET


def bye(reason: str) -> Frame:
    """The frame of it."""
    after = COME_AGAIN.get(reason)
    told = Bye(reason) if after is None else Bye(reason, random.randint(*after))
    return Frame("bye", msgspec.json.encode(told), None)


def parting(frame: Frame) -> bytes:
    """:func:`bye`, so that an EventSource comes again when it says."""
    told = msgspec.json.decode(frame.body, type=Bye)
    after = b"retry: %d\n" % told.retry if isinstance(told.retry, int) else retry()
    return b"%bevent: bye\ndata: %b\n\n" % (after, frame.body)


class EventStream(Response):
    """The response; it lasts until the browser goes, is too slow, or is told to go."""

    def __init__(self, hub: Hub, stream: Stream, *, plain: bool = False) -> None:
        super().__init__(headers=HEADERS)
        self._hub = hub
        self._stream = stream
        self._plain = plain
        self._told = False
        self._line: Line | None = None
        self._encode: Encode = encode_plain if plain else encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave it to the guard to run the stream: all that lies between it and here is needed no more, and would be
        kept in memory for as long as the stream lasts."""
        scope[LATER] = self.run

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        connection, leaving = line(scope), None
        self._line = connection
        if isinstance(connection, Carrier):
            await self._hand_over(connection, send)
            return
        if connection is not None:
            connection.when_lost(lambda: stream.close("gone"))
        else:
            leaving = asyncio.get_running_loop().create_task(gone(receive, stream))
        try:
            await send(self._start())
            if scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b""})
                return
            await self._live(send)
        except TimeoutError:
            if connection is not None:
                connection.abort()
        except OSError:
            pass  # gone, as some servers tell it
        finally:
            if leaving is not None:
                leaving.cancel()
            self._hub.close(stream)

    async def _hand_over(self, connection: Carrier, send: Send) -> None:
        try:
            await send(self._start())
        except BaseException:
            self._hub.close(self._stream)
            raise
        connection.carry(self._stream, plain=self._plain)

    def _start(self) -> Message:
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        return {"type": "http.response.start", "status": 200, "headers": headers}

    async def _live(self, send: Send) -> None:
        stream, tick = self._stream, self._hub.settings.web.tick
        if not self._plain:
            await self._write(send, retry() + b"".join(map(encode, await opening(stream, tick))))
        while not await self._tell(send):
            try:
                async with asyncio.timeout(tick):
                    await stream.wake.wait()
            except TimeoutError:
                await self._write(send, TICK)

    async def _tell(self, send: Send) -> bool:
        """Send what there is; whether that was the last."""
        stream, data = self._stream, bytearray()
        async for frame in stream.frames():
            if self._plain and not self._told:
                data += retry()
                self._told = True
            data += self._encode(frame)
            if len(data) > BATCH:
                await self._write(send, bytes(data))
                data.clear()
                if stream.farewell is not None:
                    break
        ended = stream.farewell is not None or (self._plain and not stream.places)
        if stream.farewell is not None:
            data += encode(bye(stream.farewell))
        if data:
            await self._write(send, bytes(data), more=not ended)
        return ended

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        self._stream.busy = True
        sending = send({"type": "http.response.body", "body": data, "more_body": more})
        self._stream.busy = await sent(self._line, sending)


def retry() -> bytes:
    """A line of the event that follows."""
    return b"retry: %d\n" % random.randint(*RETRY)


async def gone(receive: Receive, stream: Stream) -> None:
    """Notice at once that the browser has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close("gone")


def asked_topics(asking: HTTPConnection) -> list[str]:
    """The topics in the query, each once."""
    return list(dict.fromkeys(part.strip() for part in asking.query_params.get("topics", "").split(",") if part))


def asked_tabs(asking: HTTPConnection) -> list[str]:
    """The tabs in the query that share the stream with the one that opens it."""
    return [tab for tab in asking.query_params.get("tabs", "").split(",") if tab]
