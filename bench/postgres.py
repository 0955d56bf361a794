"""A PostgreSQL server of the bench's own, daemons that share it, and the same SQL with nothing around it.

The server is that of the tests (the wheel's programs, never this machine's), but with its fsync: a commit is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Self, TypeVar

import asyncpg
import psycopg
import uvloop

from stoker.bench.daemon import Daemon, until
from stoker.bench.result import Missing
from stoker.bench.run import Run
from stoker.store.postgres import PostgresStore
from stoker.store.postgres.statements import named
from tests.postgres import Server, bin_folder

T = TypeVar("T")
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "2GB"}
COMMAND = "bench.coroutine"
FLOOR = "floor"
"""Schema of the bare statements' tables, so that no daemon sees their jobs."""
MEASURED = 1
"""Priority of the jobs that are measured; what waits behind them has 0."""
FILL_NEW = """
INSERT INTO {schema}.jobs (id, command, state, waits, priority, created, updated, run_at, input)
SELECT lpad(to_hex($1::integer), 8, '0') || lpad(to_hex(n), 24, '0'), $2, 'new', 'slot', $3, now(), now(), now(), '{{}}'
FROM generate_series(1, $4::integer) n
"""
FILL_ENDED = """
INSERT INTO {schema}.ended (id, seq, command, state, waits, priority, attempt, fence, created, updated, run_at, started,
                            finished, output, input)
SELECT lpad(to_hex($1::integer), 8, '0') || lpad(to_hex(n), 24, '0'), -n, $2, 'completed', 'slot', $3, 1, 1, now(),
       now(), now(), now(), now(), 'null', '{{}}'
FROM generate_series(1, $4::integer) n
"""
LEFT = f"""
SELECT EXISTS (SELECT FROM stoker.jobs WHERE command = '{COMMAND}' AND state = 'new' AND waits = 'slot'
               AND priority = {MEASURED})
    OR EXISTS (SELECT FROM stoker.jobs WHERE command = '{COMMAND}' AND state = 'running' AND priority = {MEASURED})
"""
COMPLETED = f"""
SELECT count(*) FROM stoker.ended WHERE command = '{COMMAND}' AND state = 'completed' AND priority = {MEASURED}
"""


@contextlib.contextmanager
def server(run: Run, name: str = "pg", **settings: str) -> Iterator[Server]:
    """A server in the run's folder. Raises :class:`Missing`."""
    try:
        bin_folder()
    except BaseException as error:  # the tests' way to say so is none of Exception
        raise Missing(str(error)) from None
    for folder in (run.folder, run.folder.parent):
        folder.chmod(0o711)  # where the server runs as nobody, it has to pass
    with Server(run.folder / name, durable=True, settings={**SETTINGS, **settings}) as made:
        yield made


class Loop:
    """An event loop for calls from outside of it."""

    def __init__(self) -> None:
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)

    def __call__(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.close()


class Bare:
    """The store's own tables in a schema of their own, and connections to them."""

    def __init__(self, loop: Loop, at: Server, connections: int) -> None:
        self.run = loop
        self.sql = named(FLOOR)
        self.batches = 0
        self.db = loop(self._open(at, connections))

    async def _open(self, at: Server, connections: int) -> list[asyncpg.Connection[Any]]:
        store = PostgresStore(at.dsn(schema=FLOOR))
        await store.open()
        await store.close()
        # as the store has its own, see its session
        settings = {"jit": "off", "application_name": "bench"}
        return [await asyncpg.connect(at.url, server_settings=settings) for _ in range(connections)]

    def fill(self, count: int) -> None:
        """Store jobs that are ready."""
        self.batches += 1
        self.run(self.db[0].execute(FILL_NEW.format(schema=FLOOR), self.batches, COMMAND, MEASURED, count))

    def close(self) -> None:
        for one in self.db:
            self.run(one.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Fleet:
    """Daemons that share a server, each with a resident; nothing is begun but what is measured."""

    def __init__(self, folder: Path, at: Server, nodes: int, **settings: str | int) -> None:
        self._stack = contextlib.ExitStack()
        self._at = at
        self._folder = folder
        self._settings = [{"store": at.url, "node": f"node{number}", **settings} for number in range(nodes)]
        self.daemons: list[Daemon] = []

    def __enter__(self) -> Self:
        with self._stack:
            for given in self._settings:
                folder = self._folder / str(given["node"])
                self.daemons.append(self._stack.enter_context(Daemon(folder, "bench_app", **given)))
            self._db = self._stack.enter_context(psycopg.connect(self._at.url, autocommit=True))
            self.daemons[0].client.ask("pause", name=COMMAND)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def drain(self, count: int) -> float:
        """Jobs a second: so many are stored first, then let loose, until all have ended."""
        before = self.value(COMPLETED)
        first = self.daemons[0]
        handles = first.submit(COMMAND, count, priority=MEASURED)
        begun = time.perf_counter()
        first.client.ask("resume", name=COMMAND)
        handles[-1].wait()
        until(lambda: not self.value(LEFT), "all jobs have ended")
        seconds = time.perf_counter() - begun
        first.client.ask("pause", name=COMMAND)
        done = self.value(COMPLETED) - before
        if done != count:
            said = "\n".join(daemon.log() for daemon in self.daemons)
            raise RuntimeError(f"{count} jobs should be completed, but {done} are:\n{said}")
        return count / seconds

    def fill(self, sql: str, count: int) -> None:
        """Put rows beside those that are measured."""
        sql = sql.format(schema="stoker").replace("$1", "1").replace("$2", f"'{COMMAND}'")
        self._db.execute(sql.replace("$3", "0").replace("$4", str(count)).encode())
        self._db.execute("VACUUM ANALYZE")
        self._db.execute("CHECKPOINT")  # or the writing of it would go on beside what is measured

    def value(self, sql: str) -> Any:
        (found,) = self._db.execute(sql.encode()).fetchall()
        return found[0]
