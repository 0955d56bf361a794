"""A peer that keeps its jobs in PostgreSQL: ``python pg_peer.py PEER URL``, in the peers' venv.

It keeps two processes. A line COUNT is answered by the jobs a second: so many are stored first, then both are let
loose, until all have ended; "version" by what is measured.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from importlib.metadata import version

import asyncpg
import uvloop
from pg_pgqueuer import PgQueuer
from pg_procrastinate import Procrastinate

PEERS = {"pgqueuer": PgQueuer, "procrastinate": Procrastinate}
PROCESSES = 2


async def work(name: str, url: str) -> None:
    """One process: a line is answered by a line when nothing is left to do."""
    peer = PEERS[name](url)
    async with peer:
        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            await peer.drain()
            print("done", flush=True)


class Workers:
    def __init__(self, name: str, url: str) -> None:
        argv = [sys.executable, __file__, name, url, "worker"]
        self._all = [
            subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
        ]
        self._hear("ready")

    def drain(self) -> None:
        for one in self._all:
            one.stdin.write("go\n")
            one.stdin.flush()
        self._hear("done")

    def _hear(self, word: str) -> None:
        for one in self._all:
            if one.stdout.readline().strip() != word:
                raise SystemExit("a process of the peer ended")

    def end(self) -> None:
        for one in self._all:
            one.stdin.close()
        for one in self._all:
            one.wait()


def drained(name: str, url: str, workers: Workers, count: int) -> float:
    async def fill() -> None:
        async with PEERS[name](url) as peer:
            await peer.fill(count)

    async def ended() -> int:
        db = await asyncpg.connect(url)
        try:
            return await db.fetchval(PEERS[name].ENDED)
        finally:
            await db.close()

    before = uvloop.run(ended())
    uvloop.run(fill())
    begun = time.perf_counter()
    workers.drain()
    seconds = time.perf_counter() - begun
    done = uvloop.run(ended()) - before
    if done != count:
        raise SystemExit(f"{name}: {done} jobs have ended instead of {count}")
    return count / seconds


def main() -> None:
    name, url = sys.argv[1:3]
    if sys.argv[3:] == ["worker"]:
        uvloop.run(work(name, url))
        return

    async def install() -> None:
        async with PEERS[name](url) as peer:
            await peer.install()

    uvloop.run(install())
    workers = Workers(name, url)
    try:
        for line in sys.stdin:
            if line.strip() == "version":
                print(f"{name} {version(name)}, {PROCESSES} processes, {PEERS[name].HOW}", flush=True)
            else:
                print(drained(name, url, workers, int(line)), flush=True)
    finally:
        workers.end()


if __name__ == "__main__":
    main()
