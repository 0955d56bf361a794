"""Server-Sent Events: what most browsers get."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from stoker.web.guard import LATER
from stoker.web.hub import AUDIENCE, Hub
from stoker.web.line import Carrier, line
from stoker.web.stream import BATCH, Frame, Stream
from stoker.web.topics import Told

TICK = b":\n\n"
WRITE_WITHIN = 5.0
"""Seconds that a browser may take none of what was sent before it is let go."""
RETRY = (1000, 4000)
"""Milliseconds after which a browser comes again by itself; by chance, so that not all come at once."""
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
    mark = b"" if frame.cursor is None else b"id: %b\n" % frame.cursor.encode()
    return b"event: %b\n%bdata: %b\n\n" % (frame.kind.encode(), mark, frame.body)


def encode_plain(frame: Frame) -> bytes:
    """A frame of one job's stream, for an EventSource that knows nothing of topics."""
    if frame.kind != "message":
        return b"event: %b\ndata: %b\n\n" % (frame.kind.encode(), frame.body)
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


def bye(reason: str) -> Frame:
    """The last word."""
    return Frame("bye", msgspec.json.encode({"reason": reason}), None)


class EventStream(Response):
    """The response; it lasts until the browser goes, is too slow, or is told to go."""

    def __init__(self, hub: Hub, stream: Stream, *, plain: bool = False) -> None:
        super().__init__(headers=HEADERS)
        self._hub = hub
        self._stream = stream
        self._plain = plain
        self._told = False
        self._encode: Encode = encode_plain if plain else encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave it to the guard to run the stream: all that lies between it and here is needed no more, and would be
        kept in memory for as long as the stream lasts."""
        scope[LATER] = self.run

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        stream = self._stream
        connection, leaving = line(scope), None
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
            data += retry()
            data += encode(bye(stream.farewell))
        if data:
            await self._write(send, bytes(data), more=not ended)
        return ended

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        self._stream.busy = True
        async with asyncio.timeout(WRITE_WITHIN):
            await send({"type": "http.response.body", "body": data, "more_body": more})
        self._stream.busy = False


def retry() -> bytes:
    """A line of the event that follows."""
    return b"retry: %d\n" % random.randint(*RETRY)


async def gone(receive: Receive, stream: Stream) -> None:
    """Notice at once that the browser has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close("gone")


def asked_topics(request: Request) -> list[str]:
    """The topics in the query, each once."""
    return list(dict.fromkeys(part.strip() for part in request.query_params.get("topics", "").split(",") if part))
