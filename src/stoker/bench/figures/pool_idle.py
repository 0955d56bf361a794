"""How often workers that have nothing to do wake up: the kernel's own count for all their threads."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from stoker.bench.figures import warm
from stoker.bench.figures.idle import SETTLE
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"pool_idle_wakeups": Target(most=0)}


def wakes(pids: Iterable[int]) -> int:
    """How often they have gone to sleep or been put to it so far, which is how often they woke."""
    return sum(
        int(line.split()[1])
        for pid in pids
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for line in status.read_text().splitlines()
        if "voluntary_ctxt_switches" in line
    )


def measure(run: Run) -> Iterator[Result]:
    with warm.daemon(run.folder) as daemon:
        daemon.client.call(warm.COMMAND, **warm.INPUT)
        daemon.client.close()
        time.sleep(min(SETTLE, run.effort.idle))
        roles = daemon.processes()
        routers: list[float] = []

        def a_minute() -> float:
            before, router = wakes(roles["resident"]), wakes(roles["router"])
            time.sleep(run.effort.idle)
            share = 60 / run.effort.idle
            routers.append((wakes(roles["router"]) - router) * share)
            return (wakes(roles["resident"]) - before) * share

        (values,) = run.alternate(a_minute)
    told = [round(one) for one in routers]
    yield run.result(
        "pool_idle_wakeups", values, "a minute", seconds=run.effort.idle, workers=len(roles["resident"]),
        wakeups_of_router=told,
    )  # fmt: skip
