"""Server-Sent Events: what most browsers get."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stoker.web.hub import AUDIENCE, Hub
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
        stream = self._stream
        leaving = asyncio.get_running_loop().create_task(_gone(receive, stream))
        headers = [pair for pair in self.raw_headers if pair[0] != b"content-length"]
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            with contextlib.suppress(TimeoutError, OSError):
                await self._live(send)
        finally:
            leaving.cancel()
            self._hub.close(stream)

    async def _live(self, send: Send) -> None:
        stream, tick = self._stream, self._hub.settings.web.tick
        if not self._plain:
            early = await stream.prepare(HELLO_WITHIN)
            begin = Frame("hello", msgspec.json.encode(hello(stream, tick)), stream.cursor() or None)
            await self._write(send, _retry() + b"".join(map(encode, (begin, *early))))
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
                data += _retry()
                self._told = True
            data += self._encode(frame)
            if len(data) > BATCH:
                await self._write(send, bytes(data))
                data.clear()
                if stream.farewell is not None:
                    break
        ended = stream.farewell is not None or (self._plain and not stream.places)
        if stream.farewell is not None:
            data += _retry()
            data += encode(Frame("bye", msgspec.json.encode({"reason": stream.farewell}), None))
        if data:
            await self._write(send, bytes(data), more=not ended)
        return ended

    async def _write(self, send: Send, data: bytes, *, more: bool = True) -> None:
        self._stream.busy = True
        async with asyncio.timeout(WRITE_WITHIN):
            await send({"type": "http.response.body", "body": data, "more_body": more})
        self._stream.busy = False


def _retry() -> bytes:
    """A line of the event that follows."""
    return b"retry: %d\n" % random.randint(*RETRY)


async def _gone(receive: Receive, stream: Stream) -> None:
    """Notice at once that the browser has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
    stream.close("gone")


def asked_topics(request: Request) -> list[str]:
    """The topics in the query, each once."""
    return list(dict.fromkeys(part.strip() for part in request.query_params.get("topics", "").split(",") if part))
