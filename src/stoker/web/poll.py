"""Long-poll: for browsers behind something that keeps streams back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stoker.web.answers import as_json
from stoker.web.hub import Hub
from stoker.web.identity import Caller, Identity
from stoker.web.refusal import Refusal
from stoker.web.sse import asked_tabs, asked_topics, gone, hello
from stoker.web.stream import Frame, Stream

WAIT_MAX = 60.0
LINGER, LINGER_LEAST, LINGER_TIMES = 15.0, 3.0, 3.0
"""Seconds that a tab stays in the tree after its poll was answered, for it asks again: at most, and when it is known
how long that takes it, a few and so many times that."""
EVENTS_MAX = 500


def as_object(frame: Frame) -> msgspec.Raw:
    """A frame with its kind among its fields; without one it is a message."""
    if frame.kind == "message":
        return msgspec.Raw(frame.body)
    return msgspec.Raw(b'{"type":"%b",%b' % (frame.kind.encode(), frame.body[1:]))


class Between:
    """A tab that was answered and will ask again; until then it stays in the tree. It stands where the ``wake`` of its
    stream was: there is nobody who waits for that now."""

    def __init__(self, stream: Stream, stays: float, left: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._stream, self._left = stream, left
        self.answered = loop.time()
        self._timer = loop.call_later(stays, self.leave)
        stream.wake = cast(asyncio.Event, self)

    def set(self) -> None:
        """There is something new, which the next question will find; unless it is the word to go."""
        if self._stream.farewell is not None:
            self.leave()

    def clear(self) -> None:
        """Nobody looks."""

    def leave(self) -> None:
        """It has asked again, or will not."""
        self._timer.cancel()
        self._left()


class Polls:
    """The tabs that poll, and how long each takes to ask again."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._between: dict[tuple[Identity, str], Between] = {}

    async def poll(self, request: Request, caller: Caller) -> Response:
        """What has come since the cursor, or comes within ``wait`` seconds."""
        query = request.query_params
        wait = _seconds(query.get("wait", "25"))
        hub, instance = self._hub, query.get("instance", "")
        stream = hub.open(caller, instance, asked_tabs(request), asked_topics(request), query.get("after", ""))
        stream.wake = asyncio.Event()
        leaving = asyncio.get_running_loop().create_task(gone(request.receive, stream))
        key, stays = (caller.identity, instance), LINGER
        try:
            early = await stream.prepare(wait)
            stays = self._again(key)
            found = await _news(stream, early, wait)
        finally:
            leaving.cancel()
            self._rest(key, stream, stays)
        begun = hello(stream, hub.settings.web.tick)
        data = {
            "stream": stream.id, "user": begun["user"], "expires": begun["expires"], "cursor": stream.cursor(),
            "events": [as_object(frame) for frame in found],
        }  # fmt: skip
        return as_json(data)

    def _again(self, key: tuple[Identity, str]) -> float:
        """The tab is here, also without what is left of its last question. How long it may stay away the next time."""
        before = self._between.get(key)
        if before is None:
            return LINGER
        before.leave()
        took = asyncio.get_running_loop().time() - before.answered
        return min(LINGER, LINGER_LEAST + LINGER_TIMES * took)

    def _rest(self, key: tuple[Identity, str], stream: Stream, stays: float) -> None:
        if stream.farewell is not None:
            self._hub.close(stream)
            return
        if key in self._between:
            self._between[key].leave()

        def left() -> None:
            del self._between[key]
            self._hub.close(stream)

        self._between[key] = Between(stream, stays, left)


async def _news(stream: Stream, found: list[Frame], wait: float) -> list[Frame]:
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    while True:
        async for frame in stream.frames():
            found.append(frame)
            if len(found) >= EVENTS_MAX:
                break
        if found or stream.farewell is not None or not await _woken(stream.wake, end - loop.time()):
            return found


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
