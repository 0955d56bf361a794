"""Something between a browser and the bridge: it serves the pages of the tests, counts open event streams, and can be
as bad as real proxies are."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Coroutine
from typing import Any

STREAM = b"GET /events?"
PAGE = (b"GET /page ", b"GET /page?")


class Proxy:
    """One port in front of another, in a thread. HTTP/1.1 passes through it as it is."""

    def __init__(self, port: int, page: str, policy: str) -> None:
        self._to = port
        self._page = (
            f"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Security-Policy: {policy}\r\n"
            f"Content-Length: {len(page)}\r\n\r\n{page}"
        ).encode()
        self.port = 0
        self.streams = 0
        """Event streams that are open now."""
        self.opened = 0
        """Event streams that were ever asked for."""
        self.buffering = False
        """Keep the answers to event streams back, as a proxy that waits for their end."""
        self.away = False
        """Break every line, and let nobody through."""
        self.requests: list[str] = []
        """The first lines of requests that came first on their connection, or alone in a packet."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cut(self, *, away: bool = False) -> None:
        """Break every line, as a network that goes away; it is back at once unless it stays ``away``."""
        self.away = away
        self._run(self._cut())

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _cut(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        line = _Line()
        try:
            if self.away:
                raise EOFError
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                await asyncio.gather(self._forward(reader, back, writer, line), self._back(there, writer, line))
            finally:
                back.close()
        except (OSError, asyncio.CancelledError, EOFError):
            pass
        finally:
            self.streams -= line.stream
            self._tasks.discard(task)
            writer.transport.abort()

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, browser: asyncio.StreamWriter, line: _Line
    ) -> None:
        while data := await reader.read(65536):
            if data.startswith(PAGE):
                browser.write(self._page)
                continue
            if data.startswith(STREAM) and not line.stream:
                line.stream = True
                self.streams += 1
                self.opened += 1
            if data.startswith((b"GET ", b"POST ")):
                self.requests.append(data.partition(b" HTTP/")[0].decode(errors="replace"))
            writer.write(data)
            await writer.drain()
        raise EOFError

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: _Line) -> None:
        while data := await reader.read(65536):
            if line.stream and self.buffering:
                continue
            writer.write(data)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
        raise EOFError


class _Line:
    """One connection of a browser."""

    stream = False
