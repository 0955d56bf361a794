"""No-op jobs in fresh processes, beside RQ's default worker, which forks for each job, too."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from stoker.bench import peers
from stoker.bench.daemon import DRIVERS, Daemon, Helper
from stoker.bench.figures.isolated import COMMAND, WARM_UP
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

NAME = "isolated_vs_rq"
FIGURES = {NAME: Target(least=8)}
DRIVER = str(DRIVERS / "rq_drain.py")


def measure(run: Run) -> Iterator[Result]:
    try:
        yield _compare(run)
    except Missing as missing:
        yield run.missing(NAME, "jobs/s", str(missing))


def _compare(run: Run) -> Result:
    python = peers.python()
    with (
        peers.redis(run.folder) as socket,
        Helper(run.folder, DRIVER, str(socket), str(run.folder), python=python) as rq,
        Daemon(run.folder, "bench_app") as daemon,
    ):
        version = rq.ask("version")

        def drained(workers: int, count: int) -> float:
            return float(rq.ask(f"{workers} {count}"))

        jobs = run.effort.count(daemon.drain(COMMAND, WARM_UP))
        one, two = (run.effort.count(drained(workers, WARM_UP // 4)) for workers in (1, 2))
        ones, twos, values = run.alternate(
            lambda: drained(1, one), lambda: drained(2, two), lambda: daemon.drain(COMMAND, jobs)
        )
    best = max(ones, twos, key=statistics.median)
    return run.result(
        NAME, values, "jobs/s", best, jobs=jobs, peer=version, rq_x1=round(statistics.median(ones), 1),
        rq_x2=round(statistics.median(twos), 1),
    )  # fmt: skip
