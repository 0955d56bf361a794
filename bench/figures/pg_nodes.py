"""No-op jobs on one PostgreSQL server, by how many daemons work on them."""

from __future__ import annotations

from collections.abc import Iterator

from bench.figures.pg_drain import RESIDENT
from bench.postgres import Fleet, server
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

NODES = (1, 2, 4)
FIGURES = {f"pg_nodes_{nodes}": Target() for nodes in NODES}


def measure(run: Run) -> Iterator[Result]:
    try:
        yield from _measure(run)
    except Missing as missing:
        for name in FIGURES:
            yield run.missing(name, "jobs/s", str(missing))


def _measure(run: Run) -> Iterator[Result]:
    jobs = run.effort.drained
    with server(run) as at:

        def drained(nodes: int) -> float:
            # those that are not asked for would listen, too
            with Fleet(run.fresh(), at, nodes, **RESIDENT) as fleet:
                fleet.drain(jobs // 10)
                return fleet.drain(jobs)

        rates = run.alternate(*(lambda nodes=nodes: drained(nodes) for nodes in NODES))
    for nodes, values in zip(NODES, rates, strict=True):
        yield run.result(f"pg_nodes_{nodes}", values, "jobs/s", jobs=jobs)
