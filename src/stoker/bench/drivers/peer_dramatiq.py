"""Dramatiq on Redis: two processes of two threads, prefetch 200."""

from __future__ import annotations

import os
import sys

import counting
import dramatiq
from dramatiq.brokers.redis import RedisBroker

PREFETCH = "200"
os.environ["dramatiq_queue_prefetch"] = PREFETCH  # for the workers: they read it from there  # noqa: SIM112
dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_ADDRESS"], middleware=[]))


@dramatiq.actor
def noop() -> None:
    counting.done()


@dramatiq.actor
def clock() -> None:
    counting.begun()


class Dramatiq:
    NAMES = ("dramatiq", "redis")
    HOW = f"2 processes of 2 threads, prefetch {PREFETCH}, no middleware"
    PROCESSES = 2

    def workers(self) -> list[list[str]]:
        return [[sys.executable, "-m", "dramatiq", "peer_dramatiq", "-p", "2", "-t", "2"]]

    def fill(self, count: int) -> None:
        for _ in range(count):
            noop.send()

    def send(self) -> None:
        clock.send()

    def free(self) -> bool:
        return True


PEER = Dramatiq()
