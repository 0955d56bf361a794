"""Huey, on Redis or in a file of SQLite with its fsync."""

from __future__ import annotations

import os
import sqlite3
import sys

import counting
from huey import RedisHuey, SqliteHuey

ADDRESS = os.environ["BENCH_ADDRESS"]
REDIS = ADDRESS.startswith("unix:")

huey = (
    RedisHuey("bench", url=ADDRESS, results=False)
    if REDIS
    else SqliteHuey("bench", filename=ADDRESS, fsync=True, results=False)
)


@huey.task()
def noop() -> None:
    counting.done()


@huey.task()
def clock() -> None:
    counting.begun()


class Huey:
    NAMES = ("huey", "redis") if REDIS else ("huey",)
    HOW = "2 processes" if REDIS else "SQLite, fsync, 1 thread, poll 10 ms"
    PROCESSES = 2 if REDIS else 1

    def workers(self) -> list[list[str]]:
        how = ["-k", "process", "-w", "2"] if REDIS else ["-k", "thread", "-w", "1", "-d", "0.01", "-m", "0.01"]
        return [[sys.executable, "-m", "huey.bin.huey_consumer", "peer_huey.huey", "-n", "-q", *how]]

    def fill(self, count: int) -> None:
        for _ in range(count):
            noop()

    def send(self) -> None:
        clock()

    def free(self) -> bool:
        if REDIS:
            return True
        db = sqlite3.connect(ADDRESS, timeout=0, isolation_level=None)
        try:
            db.execute("BEGIN IMMEDIATE")
            db.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        finally:
            db.close()
        return True


PEER = Huey()
