"""Memory that a consumer has to itself when a no-op is done, with 150 MB preloaded: what ten more of them cost."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import psutil

from stoker.bench.daemon import Daemon
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"consumer_private": Target(most=4)}
MB = 1 << 20
CALLS = 10


def measure(run: Run) -> Iterator[Result]:
    with Daemon(run.folder, "bench_heavy") as daemon:
        resident = psutil.Process(daemon.processes()["zygote"][0]).memory_info().rss / MB

        def private() -> float:
            return float(statistics.median(daemon.client.call("bench.private") / MB for _ in range(CALLS)))

        (values,) = run.alternate(private)
    yield run.result("consumer_private", values, "MB", zygote_rss_mb=round(resident, 1))
