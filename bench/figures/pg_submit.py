"""Durable submission to PostgreSQL over the daemon's socket, one by one and in bulk, beside a bare INSERT and COPY into
the same table."""

from __future__ import annotations

import datetime
import time
from collections.abc import Iterator

from bench.postgres import FLOOR, Bare, Fleet, Loop, server
from stoker.bench.figures.submit import COMMAND, LOOK_EVERY, rate
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run
from stoker.model.ids import new_job_id

FIGURES = {"pg_submit_one": Target(least=0.6), "pg_submit_bulk": Target(least=0.3)}
COLUMNS = ("id", "command", "state", "waits", "priority", "created", "updated", "run_at", "input")
INSERT = f"INSERT INTO {FLOOR}.jobs ({', '.join(COLUMNS)}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"


class BareSubmit(Bare):
    def one_by_one(self, seconds: float) -> float:
        """Transactions of one row a second."""
        return self.run(self._one_by_one(seconds))

    async def _one_by_one(self, seconds: float) -> float:
        insert = await self.db[0].prepare(INSERT)
        count, begun = 0, time.perf_counter()
        while (passed := time.perf_counter() - begun) < seconds:
            for _ in range(LOOK_EVERY):
                await insert.fetch(*row())
            count += LOOK_EVERY
        return count / passed

    def copy(self, count: int) -> float:
        """Rows a second in one COPY."""
        rows = [row() for _ in range(count)]
        begun = time.perf_counter()
        self.run(self.db[0].copy_records_to_table("jobs", schema_name=FLOOR, columns=COLUMNS, records=rows))
        return count / (time.perf_counter() - begun)


def row() -> tuple[object, ...]:
    """A job's row as the store writes it for a job without input."""
    now = datetime.datetime.now(datetime.UTC)
    return (new_job_id(), COMMAND, "new", "slot", 0, now, now, now, b"{}")


def measure(run: Run) -> Iterator[Result]:
    try:
        yield from _measure(run)
    except Missing as missing:
        for name in FIGURES:
            yield run.missing(name, "jobs/s", str(missing))


def _measure(run: Run) -> Iterator[Result]:
    seconds, bulk = run.effort.seconds / 3, run.effort.bulk
    with server(run) as at, Loop() as loop, BareSubmit(loop, at, 1) as bare, Fleet(run.folder, at, 1) as fleet:
        (daemon,) = fleet.daemons
        daemon.client.ask("pause", name=COMMAND)
        floors, values = run.alternate(
            lambda: bare.one_by_one(seconds), lambda: rate(lambda: daemon.client.submit(COMMAND), seconds)
        )
        yield run.result("pg_submit_one", values, "jobs/s", floors)

        def submit_many() -> float:
            begun = time.perf_counter()
            daemon.submit(COMMAND, bulk)
            return bulk / (time.perf_counter() - begun)

        floors, values = run.alternate(lambda: bare.copy(bulk), submit_many)
        yield run.result("pg_submit_bulk", values, "jobs/s", floors, jobs=bulk)
