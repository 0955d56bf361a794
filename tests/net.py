"""A proxy with faults between a PostgreSQL server and whoever talks to it."""

from __future__ import annotations

import asyncio
import contextlib
import enum
import re
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Self, TypeVar

from tests.pgwire import Conversation

T = TypeVar("T")
COMMIT = rb"\bCOMMIT\b"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER that turns a close into a reset, so that the other side learns of it as of a crash."""
CHUNK = 65536
QUEUE = 64
"""Chunks that a delay may hold back in one direction before the sender has to wait."""


class Fate(enum.IntEnum):
    """What becomes of a message, and of the connection it came on."""

    PASS = 0
    NO_REPLY = 1
    """It is passed on, the server's answer is awaited and withheld, and then the connection is reset."""
    LOST = 2
    """The connection is reset before it is passed on."""


class Watch(NamedTuple):
    """What to do when a client runs SQL that matches."""

    pattern: re.Pattern[bytes]
    action: Callable[[], Fate]


class Proxy:
    """A TCP proxy on 127.0.0.1 before a PostgreSQL server, in a thread of its own, with faults on demand.

    Its kernel acknowledges whatever either side sends, so ``block`` is a peer that hangs, not a broken cable: for that
    see ``tests/netns.py``.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.target = (host, port)
        self.port = 0
        self.dropped = 0
        """Replies that were withheld."""
        self._lines: set[_Line] = set()
        self._watches: list[Watch] = []
        self._latency = 0.0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10), "the proxy did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy did not end"

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._lines)

    def cut(self) -> None:
        """Reset every connection, on both sides. New ones are let in."""

        async def all_of_them() -> None:
            for line in list(self._lines):
                line.cut()

        self._do(all_of_them())

    def block(self) -> None:
        """From now on nothing passes, in neither direction, though new connections are taken."""
        self._do(self._set_open(False))

    def unblock(self) -> None:
        """What was held back passes, in its order."""
        self._do(self._set_open(True))

    def delay(self, seconds: float) -> None:
        """Whatever comes from now on passes this much later, each way."""
        self._latency = seconds

    def on(self, pattern: bytes, action: Callable[[], Fate]) -> None:
        """Ask ``action``, in the proxy's thread, about each message that runs matching SQL, before it is passed on.

        Simple and prepared statements are known. The action may do as it likes meanwhile (kill the server, say), except
        ask something of this proxy.
        """
        self._watches.append(Watch(re.compile(pattern, re.IGNORECASE), action))

    def on_commit(self, action: Callable[[], Fate]) -> None:
        """The same for every COMMIT."""
        self.on(COMMIT, action)

    def drop_reply_to(self, pattern: bytes, count: int = 1) -> None:
        """The next ``count`` times matching SQL is run, the client never learns what came of it."""
        left = iter([Fate.NO_REPLY] * count)
        self.on(pattern, lambda: next(left, Fate.PASS))

    def drop_reply_to_commit(self, count: int = 1) -> None:
        """The next ``count`` transactions are committed, and whoever did it gets a reset for an answer."""
        self.drop_reply_to(COMMIT, count)

    def fate(self, sql: bytes) -> Fate:
        """The worst that any action has for this SQL; all that have to do with it are asked."""
        return max([watch.action() for watch in self._watches if watch.pattern.search(sql)], default=Fate.PASS)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def latency(self) -> float:
        return self._latency

    async def opened(self) -> None:
        """Wait until things may pass."""
        await self._open.wait()

    async def _set_open(self, value: bool) -> None:
        if value:
            self._open.set()
        else:
            self._open.clear()

    def _do(self, action: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(action, self._loop).result(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._open = asyncio.Event()
        self._open.set()
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(self._serve(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        listening = await asyncio.start_server(connected, "127.0.0.1", 0)
        self.port = listening.sockets[0].getsockname()[1]
        self._ready.set()
        await self._end.wait()
        listening.close()
        for line in list(self._lines):
            line.cut()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = _Line(self, reader, writer)
        self._lines.add(line)
        try:
            await line.run()
        finally:
            self._lines.discard(line)


class _Line:
    """One client's connection, and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._writers = [writer]
        self._said = Conversation()
        self._withheld_until: int | None = None

    async def run(self) -> None:
        """Until either side ends it; then both are closed, or reset if it was no orderly end."""
        try:
            server = await asyncio.open_connection(*self._proxy.target)
            self._writers.append(server[1])
            ways = [self._pump(self._client[0], self._up), self._pump(server[0], self._down)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                ends = await asyncio.gather(*tasks, return_exceptions=True)
            if any(isinstance(end, OSError) for end in ends):
                self.cut()
        except OSError:
            self.cut()
        finally:
            for writer in self._writers:
                writer.close()
            for writer in self._writers:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def cut(self) -> None:
        for writer in self._writers:
            if not writer.transport.is_closing():
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            writer.transport.abort()

    async def _up(self, data: bytes) -> None:
        """From the client to the server, message by message."""
        for message, sql in self._said.from_client(data):
            fate = self._proxy.fate(sql) if sql else Fate.PASS
            if fate is Fate.LOST:
                raise ConnectionResetError
            if fate is Fate.NO_REPLY:
                self._withheld_until = self._said.answer_to(message)
            self._writers[1].write(message)
        await self._writers[1].drain()

    async def _down(self, data: bytes) -> None:
        """From the server to the client, unless the client is not to learn of it."""
        self._said.from_server(data)
        if self._withheld_until is None:
            self._writers[0].write(data)
            await self._writers[0].drain()
        elif self._said.answered >= self._withheld_until:
            self._proxy.dropped += 1
            raise ConnectionResetError

    async def _pump(self, reader: asyncio.StreamReader, pass_on: Callable[[bytes], Awaitable[None]]) -> None:
        """Hand over what one side says, late and held back as the proxy is told, until it says no more."""
        queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue(QUEUE)
        reading = asyncio.ensure_future(self._read(reader, queue))
        try:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
                await self._proxy.opened()
                if data is None:
                    raise ConnectionResetError
                if not data:
                    return
                await pass_on(data)
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, queue: asyncio.Queue[tuple[float, bytes | None]]) -> None:
        """Queue what one side says, with the moment from which it may pass; None stands for a reset."""
        data: bytes | None = b"-"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = None
            await queue.put((asyncio.get_running_loop().time() + self._proxy.latency, data))
