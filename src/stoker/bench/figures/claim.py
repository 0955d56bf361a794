"""Claiming and settling in batches through the real store, beside the same SQL alone; and with a million ended jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import uvloop

from stoker.bench.result import Result, Target
from stoker.bench.run import Run
from stoker.model.job import Claimed, State
from stoker.model.settle import Ending
from stoker.store.base import Quota, Settlement
from stoker.store.sqlite import SqliteStore
from stoker.store.sqlite.connection import SQL, Connection
from stoker.store.sqlite.running import INLINED

FIGURES = {"claim_settle": Target(least=0.3), "claim_settle_1m": Target(least=0.8)}
COMMAND = "bench.noop"
OWNER = "bench"
LEASE = 30.0
BATCH = 200
FENCE = 5
"""Its place in what ``first_ready`` returns."""
FILL = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?1)
INSERT INTO jobs (id, command, state, waits, priority, attempt, fence, created, updated, run_at, started, finished,
                  output, input)
SELECT printf('%016x%016x', ?2, n), ?3, ?4, 'slot', 0, ?5, ?5, ?6, ?6, ?6, iif(?5, ?6, NULL), iif(?5, ?6, NULL),
       iif(?5, CAST('null' AS BLOB), NULL), CAST('{}' AS BLOB)
FROM numbers
"""
"""Jobs by the thousand, with ids in the order of time as real ones have."""


class File:
    """One store's file, filled by a connection of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        made = Connection(path, writing=True)
        made.migrate()
        made.close()
        self.db = apsw.Connection(str(path))
        self.db.set_busy_timeout(10_000)
        self.db.pragma("synchronous", 2)
        self._filled = 0

    def fill(self, count: int, *, ended: bool) -> None:
        state = State.COMPLETED if ended else State.NEW
        self._filled += 1
        self.db.execute(FILL, (count, self._filled, COMMAND, str(state), int(ended), time.time()))

    def close(self) -> None:
        self.db.close()


def bare(file: File, count: int) -> float:
    """Jobs a second: the store's own statements for a plain batch, in one transaction, with nothing around them."""
    file.fill(count, ended=False)
    db, begun, settled, ends = file.db, time.perf_counter(), 0, ""
    while True:
        db.execute("BEGIN IMMEDIATE")
        now = time.time()
        if ends:
            before = db.total_changes()
            db.execute(SQL["end_all"], (ends, now))
            settled += db.total_changes() - before
        ((found,),) = db.execute(SQL["first_ready"], (COMMAND, now, BATCH, INLINED)).fetchall()
        jobs = msgspec.json.decode(str(found))
        if jobs:
            db.execute(SQL["claim_first"], (OWNER, now + LEASE, now, COMMAND, BATCH))
        db.execute("COMMIT")
        if not jobs:
            break
        ends = msgspec.json.encode([(job[0], job[FENCE], "completed", "null", None, 1) for job in jobs]).decode()
    seconds = time.perf_counter() - begun
    if settled != count:
        raise RuntimeError(f"the bare loop settled {settled} jobs instead of {count}")
    return count / seconds


async def through_store(store: SqliteStore, count: int) -> float:
    """Jobs a second: the last batch's endings and the next claim are asked for together, as the router does."""
    quotas = [Quota(COMMAND, BATCH)]
    begun, settled = time.perf_counter(), 0
    jobs = await store.claim(OWNER, LEASE, quotas, BATCH)
    while jobs:
        ends = store.settle([_ended(job) for job in jobs])
        claim = store.claim(OWNER, LEASE, quotas, BATCH)
        settled += sum(await ends)
        jobs = await claim
    passed = time.perf_counter() - begun
    if settled != count:
        raise RuntimeError(f"{settled} jobs were settled instead of {count}")
    return count / passed


def _ended(job: Claimed) -> Settlement:
    return Settlement(job.seq, job.fence, Ending(State.COMPLETED, job.attempt, output=b"null"), job.key)


class Product:
    """A store with so many ended jobs in it, open as long as it is measured."""

    def __init__(self, runner: asyncio.Runner, path: Path, ended: int) -> None:
        self._runner = runner
        self._file = File(path)
        if ended:
            self._file.fill(ended, ended=True)
        self._store = SqliteStore(path)
        runner.run(self._store.open())

    def rate(self, count: int) -> float:
        self._file.fill(count, ended=False)
        return self._runner.run(through_store(self._store, count))

    def close(self) -> None:
        self._runner.run(self._store.close())
        self._file.close()


def measure(run: Run) -> Iterator[Result]:
    count, ended, folder = run.effort.batch_jobs, run.effort.ended, run.folder
    with (
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        closing(File(folder / "floor.db")) as floor,
        closing(Product(runner, folder / "few.db", 0)) as few,
        closing(Product(runner, folder / "many.db", ended)) as many,
    ):
        floors, values, full = run.alternate(
            lambda: bare(floor, count), lambda: few.rate(count), lambda: many.rate(count)
        )
    yield run.result("claim_settle", values, "jobs/s", floors, jobs=count, batch=BATCH)
    yield run.result("claim_settle_1m", full, "jobs/s", values, jobs=count, batch=BATCH, ended=ended)
