"""64 MiB for a worker: moved and read whole, and only moved, beside the bare system calls, and pickled into a pipe."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self

from stoker import Buffer, Dispatcher
from stoker.bench.daemon import Daemon, Helper, end, spawn
from stoker.bench.figures import warm
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"moved_64mb": Target(most=1.5), "moved_handover": Target(most=0.02)}
SIZE = 64 << 20
PAUSE = 0.005


@cache
def data() -> bytes:
    return b"\x02" * SIZE


class Bare:
    """A memory file, filled, whose descriptor is sent to a process that maps it and reads it whole."""

    def __init__(self, path: str) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(path)

    def seconds(self) -> float:
        fd = os.memfd_create("bench")
        try:
            os.write(fd, data())
            begun = time.perf_counter()
            socket.send_fds(self._sock, [b"x"], [fd])
            if not self._sock.recv(1):
                raise RuntimeError("the receiver of the memory file ended")
            return time.perf_counter() - begun
        finally:
            os.close(fd)

    def close(self) -> None:
        self._sock.close()


class Pickled:
    """The same bytes to a process at the end of a pipe, as ``multiprocessing`` sends them."""

    def __init__(self, folder: Path) -> None:
        theirs, mine = os.pipe()
        argv = [sys.executable, "-m", "stoker.bench.floors.pickled", str(theirs)]
        self._child = spawn(argv, folder / "floors.log", pass_fds=[theirs], stdout=subprocess.PIPE)
        os.close(theirs)
        self._pipe = Connection(mine, readable=False)

    def seconds(self) -> float:
        assert self._child.stdout is not None
        begun = time.perf_counter()
        self._pipe.send(data())
        if not self._child.stdout.readline():
            raise RuntimeError("the receiver of the pickle ended")
        return time.perf_counter() - begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipe.close()
        end(self._child)
        assert self._child.stdout is not None
        self._child.stdout.close()


class Product:
    """A Buffer, filled, dispatched to a worker."""

    def __init__(self, daemon: Daemon) -> None:
        self._dispatcher = Dispatcher(settings=daemon.settings)

    def seconds(self, action: str) -> float:
        buffer = Buffer.of(data())
        begun = time.perf_counter()
        found = self._dispatcher.dispatch("warm", action, {"data": buffer}, [buffer], fallback="error")
        passed = time.perf_counter() - begun
        if found not in (-1, SIZE):
            raise RuntimeError(f"{action} came back with {found}")
        return passed

    def close(self) -> None:
        self._dispatcher.close()


def median(run: Run, once: Callable[[], float]) -> float:
    """Milliseconds, after one that does not count."""
    seen = []
    for _ in range(run.effort.moves + 1):
        time.sleep(PAUSE)
        seen.append(once() * 1000)
    return statistics.median(seen[1:])


def measure(run: Run) -> Iterator[Result]:
    path = str(run.folder / "handover.sock")
    with (
        Helper(run.folder, "-m", "stoker.bench.floors.handover", path) as receiver,
        Pickled(run.folder) as pickled,
        warm.daemon(run.fresh()) as daemon,
    ):
        receiver.ask()
        bare, product = Bare(path), Product(daemon)
        try:
            floors, values, pickles, moves = run.alternate(
                lambda: median(run, bare.seconds),
                lambda: median(run, lambda: product.seconds("read")),
                lambda: median(run, pickled.seconds),
                lambda: median(run, lambda: product.seconds("size")),
            )
        finally:
            bare.close()
            product.close()
    moved = run.effort.moves
    yield run.result("moved_64mb", values, "ms", floors, moves=moved, floor="memfd, descriptor passed, mapped, read")
    yield run.result("moved_handover", moves, "ms", pickles, moves=moved, floor="pickle through a pipe")
