"""What the bridge makes of a daemon's answers that come late, in another order than browsers come and go, or not at
all: the hub of a bridge, and a daemon of which each answer is given when the test says so."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from stoker import settings
from stoker.model.errors import DaemonUnavailable
from stoker.web.hub import Hub
from stoker.web.identity import Caller, Identity
from stoker.web.stream import Stream
from stoker.web.topics import PAGE

JOB = "j1"
TOPIC = f"job:{JOB}"
ME = Caller(Identity("u7", "s1", "user"), since=1.0, until=None, by="token")


class Slow:
    """A daemon at a socket. What it is asked is in ``calls``, and waits there to be answered."""

    def __init__(self) -> None:
        self.calls: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                message = msgspec.json.decode(line)
                if message["type"] == "init":
                    self._say({"type": "init", "role": "router"})
                elif message["method"] == "revocations":
                    self.answer(message, {"now": 0.0, "offset": 0, "more": False, "revoked": []})
                elif message["method"] == "streams":
                    self.answer(message, None)
                else:
                    self.calls.put_nowait(message)
        writer.close()

    async def asked(self, method: str = "") -> dict[str, Any]:
        """The next call, which is of this method."""
        async with asyncio.timeout(20):
            call = await self.calls.get()
        assert not method or call["method"] == method, call
        return call

    def answer(self, call: dict[str, Any], data: Any) -> None:
        self._say({"type": "return", "id": call["id"], "data": data})

    def fail(self, call: dict[str, Any], code: str) -> None:
        self._say({"type": "error", "id": call["id"], "code": code, "message": "no"})

    def tell(self, *offsets: int) -> None:
        for offset in offsets:
            self._say({"type": "event", "event": "chunk", "topic": TOPIC, "offset": offset, "data": record(offset)})

    def end(self, topic: str = TOPIC) -> None:
        self._say({"type": "event", "event": "end", "topic": topic, "data": None})

    async def known(self, status: str = "running") -> None:
        """It is asked about the job, and answers."""
        self.answer(await self.asked("job"), {"user": "u7", "status": status})

    def _say(self, message: dict[str, Any]) -> None:
        assert self._writer is not None
        self._writer.write(msgspec.json.encode(message) + b"\n")


def record(offset: int) -> dict[str, Any]:
    return {
        "offset": offset,
        "job": JOB,
        "attempt": 1,
        "at": "2026-01-01T00:00:00Z",
        "kind": "chunk",
        "data": f"w{offset}",
    }


class Reader:
    """A browser that takes whatever its stream tells."""

    def __init__(self, hub: Hub, after: int = 0, *more: str) -> None:
        self.hub = hub
        self.told: list[Any] = []
        self.stream: Stream = hub.open(ME, "i", (), (TOPIC, *more), f"{TOPIC}@{after}" if after else "")
        self._task = asyncio.get_running_loop().create_task(self._read())

    async def _read(self) -> None:
        while True:
            async for frame in self.stream.frames():
                data = msgspec.json.decode(frame.body)
                self.told.append(data["offset"] if frame.kind == "message" else frame.kind)
            await self.stream.wake.wait()

    async def leave(self) -> None:
        """It is gone, whatever it waited for."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.hub.close(self.stream)

    async def has(self, *told: Any) -> None:
        async with asyncio.timeout(20):
            while len(self.told) < len(told):
                await asyncio.sleep(0.001)
        assert self.told == [*told]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[Hub, Slow]]:
    daemon = Slow()
    path = folder / "d.sock"
    server = await asyncio.start_unix_server(daemon.serve, str(path))
    hub = Hub(settings.load({"socket": str(path)}, environ={}))
    hub.start()
    try:
        await hub.link.ready()
        yield hub, daemon
    finally:
        await hub.stop()
        server.close()
        await server.wait_closed()


def run(folder: Path, test: Callable[[Hub, Slow], Awaitable[None]]) -> None:
    async def within() -> None:
        async with opened(folder) as made:
            await test(*made)

    uvloop.run(within())


async def followed(hub: Hub, daemon: Slow, after: int = 0) -> Reader:
    """One who follows the job, and the daemon knows it."""
    reader = Reader(hub, after)
    await daemon.known()
    call = await daemon.asked("subscribe")
    assert call["params"] == {"job": JOB, "after": after}
    daemon.answer(call, {"topic": TOPIC})
    return reader


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("ended", [False, True])
def test_what_was_on_its_way_to_who_left_is_not_taken_for_ones_own(folder: Path, ended: bool) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        first = await followed(hub, daemon)
        daemon.tell(1, 2)
        await first.has(1, 2)
        await first.leave()
        second = Reader(hub)
        await daemon.asked("unsubscribe")
        about = await daemon.asked("job")
        daemon.tell(3)
        if ended:
            daemon.end()
        daemon.answer(about, {"user": "u7", "status": "running"})
        call = await daemon.asked("subscribe")
        daemon.answer(call, {"topic": TOPIC})
        daemon.tell(1, 2, 3, 4)
        await second.has(1, 2, 3, 4)
        daemon.end()
        await daemon.known("completed")
        await second.has(1, 2, 3, 4, "end")

    run(folder, test)


def test_who_waits_no_longer_is_not_asked_for_twice(folder: Path) -> None:
    """The daemon takes longer to answer than a browser stays, or is kept without a word: told twice, from two places at
    one time, the next would miss what lies between."""

    async def test(hub: Hub, daemon: Slow) -> None:
        first, second = Reader(hub, 2), Reader(hub)
        await daemon.known()
        about = await daemon.asked("events")
        daemon.answer(about, [record(2)])
        call = await daemon.asked("subscribe")
        await first.leave()
        daemon.tell(3)
        daemon.answer(call, {"topic": TOPIC})
        past = await daemon.asked("events")
        assert past["params"]["after"] == 0
        daemon.answer(past, [record(1), record(2), record(3)])
        await second.has(1, 2, 3)
        daemon.tell(4)
        await second.has(1, 2, 3, 4)

    run(folder, test)


def test_one_who_left_before_the_daemon_was_asked_is_not_asked_for(folder: Path) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        reader = Reader(hub, 2)
        await daemon.known()
        about = await daemon.asked("events")
        hub.drop(reader.stream, TOPIC)
        daemon.answer(about, [record(2)])
        await daemon.asked("unsubscribe")
        again = Reader(hub)
        await daemon.known()
        assert (await daemon.asked("subscribe"))["params"]["after"] == 0
        await again.leave()

    run(folder, test)


@pytest.mark.parametrize(("code", "end"), [("store", "completed"), ("unknown_job", "unknown_job")])
def test_the_end_is_told_also_when_how_it_ended_cannot_be_read(folder: Path, code: str, end: str) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        reader = await followed(hub, daemon)
        daemon.tell(1)
        daemon.end()
        daemon.fail(await daemon.asked("job"), code)
        if code == "store":
            await daemon.known("completed")
        await reader.has(1, "end")

    run(folder, test)


def test_a_topic_that_is_dropped_says_nothing_more(folder: Path) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        reader = await followed(hub, daemon, 0)
        await reader.leave()
        await daemon.asked("unsubscribe")
        stream = hub.open(ME, "i", (), (TOPIC,), f"{TOPIC}@1")
        reading = asyncio.get_running_loop().create_task(_offsets(hub, stream, 3))
        await daemon.known()
        daemon.answer(await daemon.asked("events"), [record(1)])
        daemon.answer(await daemon.asked("subscribe"), {"topic": TOPIC})
        daemon.tell(*range(2, PAGE))
        assert await reading == [2, 3, 4]

    run(folder, test)


async def _offsets(hub: Hub, stream: Stream, most: int) -> list[int]:
    """What a stream tells that is closed to the topic after so many."""
    told: list[int] = []
    while TOPIC in stream.places:
        async for frame in stream.frames():
            told.append(msgspec.json.decode(frame.body)["offset"])
            if len(told) == most:
                hub.drop(stream, TOPIC)
        if TOPIC in stream.places:
            await stream.wake.wait()
    return told


def test_a_topic_of_which_there_is_much_does_not_keep_the_others_back(folder: Path) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        newest = 5 * PAGE
        live = Reader(hub, newest)
        await daemon.known()
        daemon.answer(await daemon.asked("events"), [record(newest)])
        daemon.answer(await daemon.asked("subscribe"), {"topic": TOPIC})
        late = Reader(hub, 0, "job:j2")
        await daemon.known()
        daemon.answer(await daemon.asked("subscribe"), {"topic": "job:j2"})
        daemon.end("job:j2")
        for page in range(3):
            while (call := await daemon.asked())["method"] != "events":
                if call["method"] == "job":
                    daemon.answer(call, {"user": "u7", "status": "completed"})
            daemon.answer(call, [record(page * PAGE + one) for one in range(1, PAGE + 1)])
        await daemon.asked("events")
        assert "end" in late.told, "not after all of the other"
        await live.leave()

    run(folder, test)


def test_nor_one_that_is_asked_for_meanwhile(folder: Path) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        newest = 5 * PAGE
        live = Reader(hub, newest)
        await daemon.known()
        daemon.answer(await daemon.asked("events"), [record(newest)])
        daemon.answer(await daemon.asked("subscribe"), {"topic": TOPIC})
        late = Reader(hub)
        call = await daemon.asked("events")
        hub.carry(late.stream, "job:j2", None)
        for page in range(2):
            assert call["method"] == "events"
            daemon.answer(call, [record(page * PAGE + one) for one in range(1, PAGE + 1)])
            call = await daemon.asked()
        assert call["params"] == {"job": "j2"}, "not after all of the other"
        await live.leave()
        await late.leave()

    run(folder, test)


def test_a_line_that_was_cut_just_now_is_away_and_no_accident(folder: Path) -> None:
    async def test(hub: Hub, daemon: Slow) -> None:
        reader = await followed(hub, daemon)
        writer = hub.link._writer
        assert writer is not None
        writer.transport.abort()
        with pytest.raises(DaemonUnavailable):
            await hub.link.ask("job", {"job": JOB})
        hub.link.tell("unsubscribe", {"job": JOB})
        call = await daemon.asked("subscribe")
        daemon.answer(call, {"topic": TOPIC})
        daemon.tell(1)
        await reader.has(1)

    run(folder, test)
