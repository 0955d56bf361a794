"""Long-poll: for browsers behind something that keeps streams back."""

from __future__ import annotations

import asyncio

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stoker.web.hub import Hub
from stoker.web.identity import Caller
from stoker.web.refusal import Refusal
from stoker.web.sse import asked_topics, gone, hello
from stoker.web.stream import Frame

WAIT_MAX = 60.0
LINGER = 15.0
"""Seconds that a tab stays in the tree after its poll was answered: it asks again."""
EVENTS_MAX = 500


def as_object(frame: Frame) -> msgspec.Raw:
    """A frame with its kind among its fields; without one it is a message."""
    if frame.kind == "message":
        return msgspec.Raw(frame.body)
    return msgspec.Raw(b'{"type":"%b",%b' % (frame.kind.encode(), frame.body[1:]))


async def poll(request: Request, caller: Caller, hub: Hub) -> Response:
    """What has come since the cursor, or comes within ``wait`` seconds."""
    query = request.query_params
    wait = _seconds(query.get("wait", "25"))
    tabs = [tab for tab in query.get("tabs", "").split(",") if tab]
    stream = hub.open(caller, query.get("instance", ""), tabs, asked_topics(request), query.get("after", ""))
    stream.wake = wake = asyncio.Event()
    loop = asyncio.get_running_loop()
    leaving = loop.create_task(gone(request.receive, stream))
    try:
        found = await stream.prepare(wait)
        end = loop.time() + wait
        while True:
            async for frame in stream.frames():
                found.append(frame)
                if len(found) >= EVENTS_MAX:
                    break
            if found or stream.farewell is not None or not await _woken(wake, end - loop.time()):
                break
    finally:
        leaving.cancel()
        loop.call_later(0 if stream.farewell == "gone" else LINGER, hub.close, stream)
    begun = hello(stream, hub.settings.web.tick)
    data = {
        "stream": stream.id, "user": begun["user"], "expires": begun["expires"], "cursor": stream.cursor(),
        "events": [as_object(frame) for frame in found],
    }  # fmt: skip
    return Response(msgspec.json.encode(data), media_type="application/json")


async def _woken(wake: asyncio.Event, seconds: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, seconds)):
            await wake.wait()
    except TimeoutError:
        return False
    return True


def _seconds(text: str) -> float:
    try:
        wait = float(text)
    except ValueError:
        wait = -1.0
    if not 0 <= wait <= WAIT_MAX:
        raise Refusal(422, "refused", f"wait is a number of seconds from 0 to {WAIT_MAX:g}")
    return wait
