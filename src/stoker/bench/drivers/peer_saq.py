"""SAQ on Redis: two processes, ten jobs at a time in each."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import counting
import uvloop
from redis.asyncio import Redis
from saq.queue.redis import RedisQueue

CONCURRENCY = 10
TOGETHER = 50
OPTIONS = {"ttl": -1, "timeout": 0}
"""No results, and no time limit: a job that was begun when its worker was stopped would be taken for stuck."""
queue = RedisQueue(Redis.from_url(os.environ["BENCH_ADDRESS"]), name="bench")


async def noop(_: Any) -> None:
    counting.done()


async def clock(_: Any) -> None:
    counting.begun()


settings = {"queue": queue, "functions": [noop, clock], "concurrency": CONCURRENCY}


class Saq:
    NAMES = ("saq", "redis")
    HOW = f"2 processes, concurrency {CONCURRENCY}"
    PROCESSES = 2

    def __init__(self) -> None:
        self._loop = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def workers(self) -> list[list[str]]:
        return [[sys.executable, "-m", "saq", "peer_saq.settings", "--quiet"]] * self.PROCESSES

    def fill(self, count: int) -> None:
        async def some() -> None:
            for begin in range(0, count, TOGETHER):
                names = range(min(TOGETHER, count - begin))
                await asyncio.gather(*(queue.enqueue("noop", **OPTIONS) for _ in names))

        self._loop.run(some())

    def send(self) -> None:
        self._loop.run(queue.enqueue("clock", **OPTIONS))

    def free(self) -> bool:
        return True


PEER = Saq()
