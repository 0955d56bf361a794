"""The same jobs through the peers that keep theirs in PostgreSQL: two processes, the best
settings found."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures.pg_drain import NODES, RESIDENT
from bench.postgres import Fleet, server
from stoker.bench import peers
from stoker.bench.daemon import DRIVERS, Helper
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

FIGURES = {"pg_vs_pgqueuer": Target(least=1.0, aim=1.2), "pg_vs_procrastinate": Target(least=20)}
DRIVER = str(DRIVERS / "pg_peer.py")
WARM_UP = 500


def measure(run: Run) -> Iterator[Result]:
    try:
        yield from _measure(run)
    except Missing as missing:
        for name in FIGURES:
            yield run.missing(name, "jobs/s", str(missing))


def _measure(run: Run) -> Iterator[Result]:
    python, jobs = peers.python(), run.effort.drained
    with (
        server(run) as at,
        Helper(run.folder, DRIVER, "pgqueuer", at.url, python=python) as fast,
        Helper(run.folder, DRIVER, "procrastinate", at.url, python=python) as slow,
        Fleet(run.folder, at, NODES, **RESIDENT) as fleet,
    ):
        few = min(jobs, run.effort.count(float(slow.ask(str(WARM_UP)))))
        fast.ask(str(jobs // 10))
        fleet.drain(jobs // 10)
        quick, slowly, values = run.alternate(
            lambda: float(fast.ask(str(jobs))), lambda: float(slow.ask(str(few))), lambda: fleet.drain(jobs)
        )
        versions = fast.ask("version"), slow.ask("version")
    yield run.result("pg_vs_pgqueuer", values, "jobs/s", quick, jobs=jobs, nodes=NODES, peer=versions[0])
    yield run.result(
        "pg_vs_procrastinate", values, "jobs/s", slowly, jobs=jobs, jobs_of_peer=few, nodes=NODES, peer=versions[1]
    )
