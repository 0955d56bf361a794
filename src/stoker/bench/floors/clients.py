"""Clients that submit one by one, each over a connection of its own.

``python -m stoker.bench.floors.clients SOCKET MARKS COUNT``. A line ``peak SECONDS`` is answered by the jobs a second
that were submitted as fast as it goes, and run; ``load RATE SECONDS`` by JSON with the rate and the milliseconds from
submit to start, the median and the 99th of 100.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from stoker import AsyncClient

COMMAND = "warm.mark"
PLACES = 1 << 20
LOOK = 0.001
PATIENCE = 60.0


class Clients:
    def __init__(self, socket: str, marks: Path, count: int) -> None:
        with marks.open("w+b") as file:
            file.truncate(PLACES * 8)
            self._marks = memoryview(mmap.mmap(file.fileno(), 0)).cast("d")
        self._all = [AsyncClient(socket) for _ in range(count)]
        self._place = 0

    async def peak(self, seconds: float) -> float:
        """Jobs a second, from the first submission to the last that was run."""
        begun = time.perf_counter()

        async def go_on(client: AsyncClient) -> None:
            while time.perf_counter() - begun < seconds:
                await self._submit(client, time.time())

        first = self._place
        await asyncio.gather(*map(go_on, self._all))
        await self._all_run(first)
        return (self._place - first) / (time.perf_counter() - begun)

    async def load(self, rate: float, seconds: float) -> dict[str, float]:
        """The clients share the rate evenly, and not at the same moments. A job counts from when it was due, so that a
        client that is held up does not hide it."""
        begun = time.time()
        pause = len(self._all) / rate

        async def keep_up(client: AsyncClient, due: float) -> None:
            while due < seconds:
                await asyncio.sleep(max(0.0, begun + due - time.time()))
                await self._submit(client, begun + due)
                due += pause

        first = self._place
        await asyncio.gather(*(keep_up(one, number / rate) for number, one in enumerate(self._all)))
        sent = (self._place - first) / (time.time() - begun)
        await self._all_run(first)
        seen = sorted(one * 1000 for one in self._marks[first : self._place])
        return {"rate": sent, "p50": statistics.median(seen), "p99": seen[len(seen) * 99 // 100]}

    async def _submit(self, client: AsyncClient, due: float) -> None:
        place = self._place
        self._place += 1
        await client.submit(COMMAND, place=place, sent=due)

    async def _all_run(self, first: int) -> None:
        end = time.monotonic() + PATIENCE
        for place in range(first, self._place):
            while not self._marks[place]:
                if time.monotonic() > end:
                    raise SystemExit("not all jobs were run")
                await asyncio.sleep(LOOK)

    async def close(self) -> None:
        for one in self._all:
            await one.close()


async def main() -> None:
    clients = Clients(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    read: Callable[[], str] = sys.stdin.readline
    while line := await asyncio.get_running_loop().run_in_executor(None, read):
        match line.split():
            case ["peak", seconds]:
                print(await clients.peak(float(seconds)), flush=True)
            case ["load", rate, seconds]:
                print(json.dumps(await clients.load(float(rate), float(seconds))), flush=True)
    await clients.close()


if __name__ == "__main__":
    uvloop.run(main())
