"""Taskiq on Redis lists: two processes, prefetch 100, arguments as they come."""

from __future__ import annotations

import asyncio
import os
import sys

import counting
import uvloop
from taskiq_redis import ListQueueBroker

PREFETCH = "100"
TOGETHER = 50
"""Submissions at one time while jobs are stored."""
broker = ListQueueBroker(url=os.environ["BENCH_ADDRESS"])


@broker.task(task_name="noop")
async def noop() -> None:
    counting.done()


@broker.task(task_name="clock")
async def clock() -> None:
    counting.begun()


class Taskiq:
    NAMES = ("taskiq", "taskiq-redis", "redis")
    HOW = f"2 processes, prefetch {PREFETCH}, no parsing"
    PROCESSES = 2

    def __init__(self) -> None:
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._ready = False

    def workers(self) -> list[list[str]]:
        how = ["--workers", "2", "--max-prefetch", PREFETCH, "--no-parse", "--log-level", "ERROR"]
        return [[sys.executable, "-m", "taskiq", "worker", *how, "peer_taskiq:broker"]]

    def fill(self, count: int) -> None:
        async def some() -> None:
            await self._up()
            for begin in range(0, count, TOGETHER):
                await asyncio.gather(*(noop.kiq() for _ in range(min(TOGETHER, count - begin))))

        self._loop.run(some())

    def send(self) -> None:
        async def one() -> None:
            await self._up()
            await clock.kiq()

        self._loop.run(one())

    async def _up(self) -> None:
        if not self._ready:
            await broker.startup()
            self._ready = True

    def free(self) -> bool:
        return True


PEER = Taskiq()
