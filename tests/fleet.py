"""Several real daemons on one PostgreSQL store: a database of their own, one ledger for all, and ways to harm one.

``fleet.node("a", "ledgered")`` starts a daemon (:class:`tests.daemon.Daemon`) in a folder of its own, as on a machine
of its own; what its jobs write into the ledger goes into that of the fleet, in the order in which it happened.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Collection, Iterator
from typing import Any

import psycopg
import pytest

from tests import ledger
from tests.daemon import Daemon, below, process, until
from tests.kept import scratch
from tests.ledger import Row
from tests.postgres import Server

_numbers = itertools.count(1)
ROWS = "SELECT id, state, attempt, fence, fault, output FROM stoker.{table}"


class Fleet:
    """The nodes of one store. ``close`` leaves nothing of them."""

    def __init__(self, server: Server, **settings: Any) -> None:
        self.server = server
        self.database = f"fleet_{os.getpid()}_{next(_numbers)}"
        self.folder = scratch("fleet")
        self.nodes: list[Daemon] = []
        self.settings = settings
        self._db: psycopg.Connection[Any] | None = None
        server.psql(f"CREATE DATABASE {self.database}")

    # ── the nodes ────────────────────────────────────────────────────────────────────────────────────────────────────

    def url(self, **query: Any) -> str:
        """The store's address; ``port`` is that of something in between."""
        return self.server.dsn(database=self.database, **query)

    def node(self, name: str, *apps: str, begin: bool = True, **options: Any) -> Daemon:
        """One more machine. Without ``begin`` it is made, and started by the test."""
        given = {"store": self.url(), **self.settings, **options, "node": name}
        daemon = Daemon(*(apps or ("ledgered",)), **given)
        daemon.file("ledger").symlink_to(self.folder / "ledger")
        self.nodes.append(daemon)
        return daemon.start() if begin else daemon

    def nodes_of(self, *names: str, apps: Collection[str] = (), **options: Any) -> list[Daemon]:
        """Several at once."""
        made = [self.node(name, *apps, begin=False, **options) for name in names]
        return started(*made)

    # ── the store, as a stranger sees it ─────────────────────────────────────────────────────────────────────────────

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask the store's tables behind the product's back; over again when the server was restarted meanwhile."""
        if self._db is not None:
            with contextlib.suppress(psycopg.OperationalError):
                return self._ask(query, values)
        self._forget()
        where = {"host": str(self.server.socket_dir), "port": self.server.port, "dbname": self.database}
        self._db = psycopg.connect(user="postgres", autocommit=True, connect_timeout=10, **where)  # type: ignore[arg-type]
        return self._ask(query, values)

    def rows(self) -> dict[str, Row]:
        """The jobs as they stand in the store; none of them twice."""
        found = self.sql(f"{ROWS.format(table='jobs')} UNION ALL {ROWS.format(table='ended')}")
        there = {row[0]: Row(*row) for row in found}
        assert len(there) == len(found), "a job has two outcomes, or one and a life"
        return there

    def all_ended(self, ids: Collection[str], seconds: float = 60.0) -> None:
        """Wait until every one of these jobs has ended."""
        query = "SELECT count(DISTINCT id) FROM stoker.ended WHERE id = ANY (%s)"
        wanted = list(ids)
        until(lambda: self.sql(query, wanted) == [(len(wanted),)], seconds, f"{len(wanted)} jobs have ended")

    def check(self, ids: Collection[str], *, faults: Any, expect: str | None = "completed") -> None:
        """The rules of the ledger (:mod:`tests.ledger`), for these jobs and all that are in it."""
        written = {*ids, *(entry.job for entry in self.entries())}
        there = {id: row for id, row in self.rows().items() if id in written}
        ledger.check(self.folder, lambda: there, list(ids), faults=faults, expect=expect)

    def entries(self) -> list[ledger.Entry]:
        return ledger.entries(self.folder)

    def written(self) -> int:
        """How many entries there are in the ledger."""
        path = self.folder / "ledger"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def transactions(self) -> int:
        """How many the server has ended in this database, of whomever."""
        query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"
        ((count,),) = self.sql(query, self.database)
        return int(count)

    def backends(self, name: str) -> list[int]:
        """The server's processes for sessions of this name: ``stoker/writer``, or with the application name that the
        URL gives in the place of ``stoker``."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = %s AND application_name = %s"
        return [row[0] for row in self.sql(query, self.database, name)]

    def close(self) -> None:
        for daemon in self.nodes:
            daemon.close()
        self._forget()
        if self.server.running:
            self.server.psql(f"DROP DATABASE IF EXISTS {self.database} WITH (FORCE)")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _ask(self, query: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        assert self._db is not None
        cursor = self._db.execute(query.encode(), values or None)
        return cursor.fetchall() if cursor.description else []

    def _forget(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def started(*daemons: Daemon) -> list[Daemon]:
    """Start several at the same time."""
    for daemon in daemons:
        daemon.start(wait=False)
    for daemon in daemons:
        daemon.wait_ready()
    return list(daemons)


def tree(daemon: Daemon) -> list[int]:
    """Every process of a node, the first one first."""
    return [daemon.pid, *(one.pid for one in below(daemon.pid))]


def freeze(daemon: Daemon) -> list[int]:
    """Stop every process of a node at once, as a machine that is suspended; who they were."""
    stopped: list[int] = []
    while fresh := [pid for pid in tree(daemon) if pid not in stopped]:
        for pid in fresh:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        stopped += fresh
    until(lambda: all((one := process(pid)) is None or one.state in "TtZX" for pid in stopped), what="all stand still")
    return stopped


def thaw(pids: Collection[int]) -> None:
    """Let them go on."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


Enlist = Callable[..., Fleet]


@pytest.fixture
def fleet(postgres: Server) -> Iterator[Fleet]:
    """A store on the server of this run, and nobody there yet."""
    made = Fleet(postgres)
    yield made
    made.close()


@pytest.fixture
def enlist() -> Iterator[Enlist]:
    """Make fleets on servers of one's own."""
    made: list[Fleet] = []

    def new(server: Server, **settings: Any) -> Fleet:
        made.append(Fleet(server, **settings))
        return made[-1]

    yield new
    for each in made:
        each.close()
