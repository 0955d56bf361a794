"""Durable submission over the socket, one by one and in bulk, beside the same INSERT through bare apsw."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw

from stoker.bench.daemon import Daemon
from stoker.bench.result import Result, Target
from stoker.bench.run import Run
from stoker.model.ids import new_job_id
from stoker.store.sqlite.connection import SQL, Connection

FIGURES = {"submit_one": Target(least=0.5), "submit_bulk": Target(least=0.3)}
COMMAND = "bench.noop"
LOOK_EVERY = 50
"""Submissions between looks at the clock."""


class Bare:
    """The store's own tables and the very same statement, with nothing around them."""

    def __init__(self, path: Path) -> None:
        made = Connection(path, writing=True)
        made.migrate()
        made.close()
        self.db = apsw.Connection(str(path))
        self.db.pragma("journal_mode", "wal")
        self.db.pragma("synchronous", 2)
        self.db.execute("CREATE TABLE plain (id TEXT PRIMARY KEY, payload BLOB NOT NULL) STRICT")

    def insert(self) -> None:
        self.db.execute(SQL["insert_job"], row())

    def insert_plain(self) -> None:
        self.db.execute("INSERT INTO plain VALUES (?, ?)", (new_job_id(), b"{}"))

    def insert_many(self, count: int) -> float:
        """Rows a second in one transaction."""
        rows = [row() for _ in range(count)]
        begun = time.perf_counter()
        with self.db:
            self.db.executemany(SQL["insert_job"], rows)
        return count / (time.perf_counter() - begun)


def row() -> tuple[str | int | float | bytes | None, ...]:
    """A job's row as the store writes it for a job without input."""
    now = time.time()
    return (new_job_id(), COMMAND, "slot", 0, now, now, None, None, None, 1, None, None, None, b"{}")


def rate(action: Callable[[], object], seconds: float) -> float:
    """How often a second it can be done, one after the other."""
    count = 0
    begun = time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        for _ in range(LOOK_EVERY):
            action()
        count += LOOK_EVERY
    return count / passed


def measure(run: Run) -> Iterator[Result]:
    seconds, bulk = run.effort.seconds / 3, run.effort.bulk
    bare = Bare(run.folder / "floor.db")
    try:
        with Daemon(run.folder, "bench_app") as daemon:
            daemon.client.ask("pause", name=COMMAND)
            floors, plains, values = run.alternate(
                lambda: rate(bare.insert, seconds),
                lambda: rate(bare.insert_plain, seconds),
                lambda: rate(lambda: daemon.client.submit(COMMAND), seconds),
            )
            plain = statistics.median(values) / statistics.median(plains)
            yield run.result("submit_one", values, "jobs/s", floors, ratio_to_plain_table=round(plain, 3))

            def submit_many() -> float:
                begun = time.perf_counter()
                daemon.submit(COMMAND, bulk)
                return bulk / (time.perf_counter() - begun)

            floors, values = run.alternate(lambda: bare.insert_many(bulk), submit_many)
            yield run.result("submit_bulk", values, "jobs/s", floors, jobs=bulk)
    finally:
        bare.db.close()
