"""No-op jobs on PostgreSQL, two daemons with a resident each, beside the same claims and settlements alone, and with a
million rows more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import asyncpg

from bench.postgres import COMMAND, FILL_ENDED, FILL_NEW, Bare, Fleet, Loop, server
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

FIGURES = {
    "pg_drain": Target(least=0.4),
    "pg_drain_1m_ended": Target(least=0.75),
    "pg_drain_1m_waiting": Target(least=0.75),
}
NODES = 2
RESIDENT: dict[str, str | int] = {"max_tasks": 500, "log_level": "warning"}
"""Settings of a daemon that drains: many at a time, and no two lines in the log for each."""
BATCH = 500
LEASE = 30.0


class BareDrain(Bare):
    """The two statements in one transaction for each batch, from as many connections as there are daemons."""

    def rate(self, count: int) -> float:
        """Jobs a second."""
        self.fill(count)
        return self.run(self._rate(count))

    async def _rate(self, count: int) -> float:
        begun = time.perf_counter()
        done = await asyncio.gather(*(self._drain(one) for one in self.db))
        seconds = time.perf_counter() - begun
        if sum(done) != count:
            raise RuntimeError(f"{done} jobs were settled instead of {count}")
        return count / seconds

    async def _drain(self, db: asyncpg.Connection[Any]) -> int:
        settled = 0
        taken: list[Any] = []
        while True:
            async with db.transaction():
                if taken:
                    some = len(taken)
                    settled += len(
                        await db.fetch(
                            self.sql["settle"], [row["seq"] for row in taken], [row["fence"] for row in taken],
                            ["completed"] * some, [row["attempt"] for row in taken], [None] * some, [b"null"] * some,
                            [None] * some,
                        )
                    )  # fmt: skip
                taken = await db.fetch(self.sql["claim"], "bench", LEASE, [COMMAND], [BATCH], None, None, BATCH)
            if not taken:
                return settled


def measure(run: Run) -> Iterator[Result]:
    try:
        yield _plain(run)
        yield _full(run, "pg_drain_1m_ended", FILL_ENDED)
        yield _full(run, "pg_drain_1m_waiting", FILL_NEW)
    except Missing as missing:
        for name in FIGURES:
            yield run.missing(name, "jobs/s", str(missing))


def _plain(run: Run) -> Result:
    jobs = run.effort.drained
    with (
        server(run) as at,
        Loop() as loop,
        BareDrain(loop, at, NODES) as bare,
        Fleet(run.fresh(), at, NODES, **RESIDENT) as fleet,
    ):
        fleet.drain(jobs // 10)
        floors, values = run.alternate(lambda: bare.rate(jobs), lambda: fleet.drain(jobs))
    return run.result("pg_drain", values, "jobs/s", floors, jobs=jobs, nodes=NODES, batch=BATCH)


def _full(run: Run, name: str, filling: str) -> Result:
    """A server with few rows beside one with many."""
    jobs, rows = run.effort.drained, run.effort.ended
    with (
        server(run, "few") as few,
        server(run, "many") as many,
        Fleet(run.fresh(), few, NODES, **RESIDENT) as plain,
        Fleet(run.fresh(), many, NODES, **RESIDENT) as full,
    ):
        full.fill(filling, rows)
        for fleet in (plain, full):
            fleet.drain(jobs // 10)
        floors, values = run.alternate(lambda: plain.drain(jobs), lambda: full.drain(jobs))
    return run.result(name, values, "jobs/s", floors, jobs=jobs, nodes=NODES, rows=rows)
