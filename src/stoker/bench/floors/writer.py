"""The least a server of streams can do: bytes made ready before, written to every connection, 500 and then the loop.

``python -m stoker.bench.floors.writer``. Prints its port; ``write COUNT BYTES`` sends so many events of that size to
everyone.
"""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar, cast

import uvloop

AT_ONCE = 500
HELLO = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\nevent: hello\ndata: {}\n\n"


class Writer(asyncio.Protocol):
    """One client."""

    __slots__ = ("transport",)

    everyone: ClassVar[set[Writer]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(HELLO)
        self.everyone.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.everyone.discard(self)


async def write(count: int, size: int) -> None:
    frame = b"event: message\ndata: " + b"x" * (size - 23) + b"\n\n"
    for _ in range(count):
        for number, one in enumerate(list(Writer.everyone), 1):
            one.transport.write(frame)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Writer, "127.0.0.1", 0, backlog=4096)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        match line.split():
            case ["port"]:
                print(server.sockets[0].getsockname()[1], flush=True)
            case ["write", count, size]:
                await write(int(count), int(size))
                print("written", flush=True)


if __name__ == "__main__":
    uvloop.run(main())
