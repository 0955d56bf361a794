"""No-op jobs with checked input in workers that stay, beside the same claims and settlements alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from stoker.bench.daemon import Daemon
from stoker.bench.figures import claim
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"warm_drain": Target(least=0.3)}
COMMAND = "warm.noop"
INPUT = {"number": 7}
APP = "bench_warm"
WARM_UP = 2000
HOW = "2 process workers, typed input, SQLite FULL"


def daemon(folder: Path) -> Daemon:
    """A daemon with the pools of the bench, every setting at its default but two lines in the log for each job."""
    return Daemon(folder, APP, log_level="warning")


def drained(daemon: Daemon, count: int) -> float:
    """Jobs a second."""
    return daemon.drain(COMMAND, count, INPUT, forked=False)


def measure(run: Run) -> Iterator[Result]:
    jobs = run.effort.warm
    with closing(claim.File(run.folder / "floor.db")) as floor, daemon(run.fresh()) as product:
        drained(product, min(jobs, WARM_UP))
        floors, values = run.alternate(lambda: claim.bare(floor, jobs), lambda: drained(product, jobs))
    yield run.result("warm_drain", values, "jobs/s", floors, jobs=jobs, batch=claim.BATCH, ours=HOW)
