"""Coroutines that only wait, as many at a time as one worker has slots, beside what that would be at best."""

from __future__ import annotations

from collections.abc import Iterator

from stoker.bench.figures import warm
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"async_sleep": Target(least=0.8)}
COMMAND = "naps.nap"
SLOTS, NAP = 500, 0.1
"""As in the application."""


def measure(run: Run) -> Iterator[Result]:
    jobs = run.effort.naps
    with warm.daemon(run.folder) as daemon:
        daemon.drain(COMMAND, SLOTS, forked=False)
        (values,) = run.alternate(lambda: daemon.drain(COMMAND, jobs, forked=False))
    ideal = [SLOTS / NAP] * len(values)
    yield run.result("async_sleep", values, "jobs/s", ideal, jobs=jobs, slots=SLOTS, sleep_ms=round(NAP * 1000))
