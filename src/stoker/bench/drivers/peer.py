"""A peer beside a Redis server or with a file: ``python peer.py NAME``, in the peers' environment.

``BENCH_ADDRESS`` says where its jobs go, ``BENCH_COUNTS`` where its handlers count. It keeps the peer's workers,
stopped (SIGSTOP) but while they are measured: so what waits takes nothing from the others, and jobs can be stored
first. A line COUNT is answered by the jobs a second from the moment they are let loose until all were done; ``start
SAMPLES`` by the milliseconds from submit to start, one by one; ``version`` by what is measured.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Protocol

from counting import Counts

PATIENCE = 60.0
LOOK = 0.002
PAUSE = 0.01
"""Seconds of quiet before each sample."""
WARM_UP = 20
SETTLE = 0.1
"""Seconds in which what was done is acknowledged, before the workers are stopped."""


class Peer(Protocol):
    """One peer, at the setting that was found best."""

    NAMES: Sequence[str]
    """Packages, for the versions."""
    HOW: str
    PROCESSES: int

    def workers(self) -> list[list[str]]:
        """The command lines of its workers."""

    def fill(self, count: int) -> None:
        """Store jobs that only count."""

    def send(self) -> None:
        """Submit one job that notes the time."""

    def free(self) -> bool:
        """Whether its workers, stopped in the middle of whatever they did, hold nothing that others need."""


class Workers:
    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._counts = Counts()
        self._all = [
            subprocess.Popen(argv, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            for argv in peer.workers()
        ]

    def ready(self) -> None:
        """Until each process has done something."""
        due = [0]

        def seen() -> bool:
            if self._counts.total() >= due[0]:
                self._peer.fill(WARM_UP)
                due[0] += WARM_UP
            return self._counts.processes() >= self._peer.PROCESSES

        self._until(seen, 0.05)
        self._until(lambda: self._counts.total() >= due[0])
        self.hold()

    def drained(self, count: int) -> float:
        due = self._counts.total() + count
        self._peer.fill(count)
        begun = time.perf_counter()
        self._signal(signal.SIGCONT)
        self._until(lambda: self._counts.total() >= due)
        seconds = time.perf_counter() - begun
        self.hold()
        return count / seconds

    def starts(self, samples: int) -> list[float]:
        self._signal(signal.SIGCONT)
        seen = []
        for _ in range(samples):
            time.sleep(PAUSE)
            due = self._counts.total() + 1
            begun = time.time()
            self._peer.send()
            self._until(lambda due=due: self._counts.total() >= due, LOOK / 4)
            seen.append((self._counts.last() - begun) * 1000)
        self.hold()
        return seen

    def hold(self) -> None:
        time.sleep(SETTLE)
        self._signal(signal.SIGSTOP)
        while not self._peer.free():
            self._signal(signal.SIGCONT)
            time.sleep(PAUSE)
            self._signal(signal.SIGSTOP)

    def end(self) -> None:
        for number in (signal.SIGCONT, signal.SIGTERM):
            self._signal(number)
        for one in self._all:
            with contextlib.suppress(subprocess.TimeoutExpired):
                one.wait(5)
        self._signal(signal.SIGKILL)  # whoever is left of their groups
        for one in self._all:
            one.wait()

    def _signal(self, number: int) -> None:
        for one in self._all:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, number)

    def _until(self, condition: Callable[[], bool], look: float = LOOK) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            if any(one.poll() is not None for one in self._all):
                raise SystemExit("a worker of the peer ended")
            if time.monotonic() > end:
                raise SystemExit(f"the peer has not done its jobs within {PATIENCE:g} s")
            time.sleep(look)


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    peer: Peer = importlib.import_module(f"peer_{sys.argv[1]}").PEER
    workers = Workers(peer)
    try:
        workers.ready()
        for line in sys.stdin:
            match line.split():
                case ["version"]:
                    print(f"{', '.join(f'{name} {version(name)}' for name in peer.NAMES)}, {peer.HOW}", flush=True)
                case ["start", samples]:
                    print(json.dumps(workers.starts(int(samples))), flush=True)
                case [count]:
                    print(workers.drained(int(count)), flush=True)
    finally:
        workers.end()


if __name__ == "__main__":
    main()
