"""RQ on Redis: two workers that run jobs in their own process."""

from __future__ import annotations

import os
import sys

import counting
from redis import Redis
from rq import Queue

ADDRESS = os.environ["BENCH_ADDRESS"]
KEEP = 0
"""Seconds that a result is kept."""


def noop() -> None:
    counting.done()


def clock() -> None:
    counting.begun()


class Rq:
    NAMES = ("rq", "redis")
    HOW = "2 SimpleWorkers, results not kept"
    PROCESSES = 2

    def __init__(self) -> None:
        self._queue = Queue("bench", connection=Redis.from_url(ADDRESS))

    def workers(self) -> list[list[str]]:
        argv = [sys.executable, "-m", "rq.cli", "worker", "--quiet", "--url", ADDRESS]
        return [[*argv, "--worker-class", "rq.worker.SimpleWorker", "bench"]] * self.PROCESSES

    def fill(self, count: int) -> None:
        self._queue.enqueue_many([Queue.prepare_data("peer_rq.noop", result_ttl=KEEP) for _ in range(count)])

    def send(self) -> None:
        self._queue.enqueue("peer_rq.clock", result_ttl=KEEP)

    def free(self) -> bool:
        return True


PEER = Rq()
