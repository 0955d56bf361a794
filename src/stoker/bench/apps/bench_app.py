"""What the daemon of the bench runs: commands that do nothing, or only look."""

from __future__ import annotations

import time

from stoker import Product

bench = Product("bench")


@bench.command
def noop() -> None:
    pass


@bench.command
async def coroutine() -> None:
    """Nothing, in a resident."""


@bench.command
def clock() -> float:
    """When the handler was entered."""
    return time.time()


@bench.command
def private() -> int:
    """Bytes of memory that this process shares with nobody."""
    with open("/proc/self/smaps_rollup") as file:
        return sum(int(line.split()[1]) << 10 for line in file if line.startswith("Private_"))
