"""A line in, the same line out, on uvloop and a Unix socket: ``python -m stoker.bench.floors.echo PATH``."""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


async def main() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(Echo, sys.argv[1])
    # a line on standard input is answered once we listen; its end is ours
    while await loop.run_in_executor(None, sys.stdin.readline):
        print("ready", flush=True)
    server.close()


if __name__ == "__main__":
    uvloop.run(main())
