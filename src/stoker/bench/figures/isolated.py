"""No-op jobs, each in a fresh process of its own, beside a bare loop of fork, exit and wait."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.bench.daemon import Daemon, Helper
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"isolated": Target(least=0.4, aim=0.7)}
COMMAND = "bench.noop"
WARM_UP = 100
"""Jobs or forks that go first, to learn how many a second there will be."""


def measure(run: Run) -> Iterator[Result]:
    yield compare(run, "isolated", "bench_app")


def compare(run: Run, name: str, app: str) -> Result:
    """The same application in the daemon and in the bare loop."""
    with (
        Daemon(run.folder, app) as daemon,
        Helper(run.folder, "-m", "stoker.bench.floors.forks", str(run.folder), app) as bare,
    ):
        jobs = run.effort.count(daemon.drain(COMMAND, WARM_UP))
        forks = run.effort.count(float(bare.ask(str(WARM_UP))))
        floors, values = run.alternate(lambda: float(bare.ask(str(forks))), lambda: daemon.drain(COMMAND, jobs))
        return run.result(name, values, "jobs/s", floors, jobs=jobs, consumers_max=daemon.settings.consumers_max)
