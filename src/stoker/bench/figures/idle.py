"""What a daemon costs that has nothing to do: processor and memory."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stoker.bench.daemon import Daemon
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"idle_cpu": Target(most=0.3), "idle_pss": Target()}
MB = 1 << 20
SETTLE = 2.0
"""Seconds until a daemon that has just started is taken for idle."""


def cpu_seconds(pids: Iterable[int]) -> float:
    """Processor time of all threads so far, by the scheduler's own count: `stat` counts hundredths, too coarse here."""
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
    return total / 1e9


def pss(pids: Iterable[int]) -> float:
    """Megabytes, where a page that several share counts for each its part."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) << 10
    return total / MB


def measure(run: Run) -> Iterator[Result]:
    with Daemon(run.folder, "bench_app") as daemon:
        daemon.client.call("bench.noop")
        daemon.wait_spares()
        daemon.client.close()
        time.sleep(min(SETTLE, run.effort.idle))
        roles = daemon.processes()
        everyone = [pid for pids in roles.values() for pid in pids]

        def percent() -> float:
            begun, before = time.perf_counter(), cpu_seconds(everyone)
            time.sleep(run.effort.idle)
            return 100 * (cpu_seconds(everyone) - before) / (time.perf_counter() - begun)

        (values,) = run.alternate(percent)
        parts: dict[str, Any] = {f"{role}_mb": round(pss(pids), 2) for role, pids in sorted(roles.items())}
        memory = [pss([*roles["router"], *roles["zygote"]])]
    yield run.result("idle_cpu", values, "% core", seconds=run.effort.idle, processes=len(everyone))
    yield run.result("idle_pss", memory, "MB", **parts)
