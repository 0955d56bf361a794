"""What a node that has nothing to do asks of the server: statements a minute, counted by the server."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from bench.postgres import Fleet, server
from stoker.bench.figures.idle import SETTLE
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

NAME = "pg_idle_statements"
FIGURES = {NAME: Target(most=120)}
STATEMENT = re.compile(r" stoker/\w+ LOG:  (?:statement|execute \S+): ")


def measure(run: Run) -> Iterator[Result]:
    try:
        yield _measure(run)
    except Missing as missing:
        yield run.missing(NAME, "a minute", str(missing))


def _measure(run: Run) -> Result:
    with server(run, log_statement="all") as at, Fleet(run.folder, at, 1) as fleet:
        (daemon,) = fleet.daemons
        daemon.client.call("bench.noop")
        daemon.wait_spares()
        daemon.client.close()
        time.sleep(min(SETTLE, run.effort.idle))

        def a_minute() -> float:
            before = len(STATEMENT.findall(at.log))
            time.sleep(run.effort.idle)
            return (len(STATEMENT.findall(at.log)) - before) * 60 / run.effort.idle

        (values,) = run.alternate(a_minute)
    return run.result(NAME, values, "a minute", seconds=run.effort.idle)
