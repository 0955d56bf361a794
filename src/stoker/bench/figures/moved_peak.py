"""Memory at its peak while a buffer is moved and read, over all processes that it passes, in buffers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from stoker.bench.daemon import Daemon
from stoker.bench.figures import warm
from stoker.bench.figures.moved import SIZE, Product
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

FIGURES = {"moved_peak": Target(most=1.02)}
PAUSE = 0.1
RESET = "5"
"""Written to clear_refs: the high-water mark is the present again."""


class Watched:
    """The processes of a daemon, and this one."""

    def __init__(self, daemon: Daemon) -> None:
        self._pids = [os.getpid(), *(pid for pids in daemon.processes().values() for pid in pids)]

    def reset(self) -> int:
        """Bytes that they have now."""
        try:
            for pid in self._pids:
                Path(f"/proc/{pid}/clear_refs").write_text(RESET)
        except OSError as error:
            raise Missing(f"the kernel does not reset high-water marks: {error}") from None
        return self._sum("VmRSS:")

    def peak(self) -> int:
        """Bytes that they had at most, each of them, since then."""
        return self._sum("VmHWM:")

    def _sum(self, field: str) -> int:
        return sum(
            int(line.split()[1]) << 10
            for pid in self._pids
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith(field)
        )


def measure(run: Run) -> Iterator[Result]:
    with warm.daemon(run.folder) as daemon:
        product = Product(daemon)
        try:
            for _ in range(run.effort.moves):
                product.seconds("read")
            watched = Watched(daemon)

            def peak() -> float:
                time.sleep(PAUSE)  # a worker lets go of a buffer after it has answered
                before = watched.reset()
                product.seconds("read")
                return (watched.peak() - before) / SIZE

            (values,) = run.alternate(peak)
        finally:
            product.close()
    yield run.result("moved_peak", values, "buffers", buffer="64 MiB")
