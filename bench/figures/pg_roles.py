"""Roles and their slots on several nodes: how long a hand-over and a take-over last, and whether any slot of a schedule
is missed or fired twice while its holders are killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psutil
import psycopg

from bench.postgres import server
from stoker.bench.daemon import Daemon, until
from stoker.bench.figures.schedules import write
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run
from tests.postgres import Server

FIGURES = {
    "handover": Target(most=1), "takeover": Target(most=6), "slots_missed": Target(most=0),
    "slots_doubled": Target(most=0),
}  # fmt: skip
UNITS = {"handover": "s", "takeover": "s", "slots_missed": "slots", "slots_doubled": "slots"}
LEASE = 5.0
ROLE = "mail"
HOLDER = "SELECT node, term FROM stoker.roles WHERE name = 'mail' AND owner IS NOT NULL"
FIRED = "SELECT slot, count(*), min(fate) FROM stoker.slots WHERE name = 'second' GROUP BY slot ORDER BY slot"
JOBS = "SELECT count(*), count(DISTINCT tags) FROM stoker.ended WHERE 'schedule:second' = ANY (tags)"
ROLES = f'[roles]\nnames = ["{ROLE}"]\nreap_after = {LEASE:g}\nclaim_after = {LEASE:g}\n'
ENTRY = {
    "name": "second", "schedule": "* * * * * *", "job": "bench.coroutine", "role": ROLE, "catch_up": "all",
    "overlap": "queue",
}  # fmt: skip


def measure(run: Run) -> Iterator[Result]:
    try:
        with server(run) as at, Fleet(run, at) as fleet:
            yield run.result("handover", [fleet.handover() for _ in range(run.effort.rounds)], "s", nodes=2)
            taken, missed, doubled, about = fleet.killed(run.effort.handovers)
            yield run.result("takeover", taken, "s", lease=LEASE)
            yield run.result("slots_missed", [missed], "slots", **about)
            yield run.result("slots_doubled", [doubled], "slots", **about)
    except Missing as missing:
        for name, unit in UNITS.items():
            yield run.missing(name, unit, str(missing))


class Fleet:
    """Two nodes, of which one holds the role."""

    def __init__(self, run: Run, at: Server) -> None:
        self._at = at
        self._folders = {name: run.fresh() for name in ("one", "two")}
        self._nodes: dict[str, Daemon] = {}

    def __enter__(self) -> Fleet:
        for name, folder in self._folders.items():
            write(folder, [ENTRY], ROLES)
            self._start(name)
        self._db = psycopg.connect(self._at.url, autocommit=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()
        for node in self._nodes.values():
            node.__exit__(None, None, None)

    def _start(self, name: str) -> None:
        self._nodes[name] = Daemon(self._folders[name], "bench_app", store=self._at.url, node=name).__enter__()

    def _holder(self) -> tuple[str, int] | None:
        row = self._db.execute(HOLDER).fetchone()
        return None if row is None else (str(row[0]), int(row[1]))

    def _held(self) -> tuple[str, int]:
        until(lambda: self._holder() is not None, "somebody holds the role")
        found = self._holder()
        assert found is not None
        return found

    def handover(self) -> float:
        """Seconds from asking the holder to stop until the other holds the role."""
        name, term = self._held()
        begun = time.perf_counter()
        self._nodes[name].client.close()
        os.kill(self._nodes[name].pid, signal.SIGTERM)
        until(lambda: (found := self._holder()) is not None and found[1] > term, "the other holds it")
        passed = time.perf_counter() - begun
        self._nodes.pop(name).__exit__(None, None, None)
        self._start(name)
        return passed

    def killed(self, slots: int) -> tuple[list[float], float, float, dict[str, Any]]:
        """Kill the holder again and again while so many slots pass; seconds of each take-over, and what became of the
        slots."""
        begin, taken = int(time.time()) + 1, []
        while time.time() < begin + slots:
            name, term = self._held()
            node = self._nodes.pop(name)
            node.client.close()
            begun = time.perf_counter()
            for one in (psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    one.kill()
            until(lambda term=term: (found := self._holder()) is not None and found[1] > term, "it is taken over")  # type: ignore[misc]
            taken.append(time.perf_counter() - begun)
            node.__exit__(None, None, None)
            self._start(name)
            time.sleep(min(2 * LEASE, max(0.0, begin + slots - time.time())))
        end = begin + slots

        def there() -> bool:
            row = self._db.execute("SELECT extract(epoch FROM max(slot)) FROM stoker.slots").fetchone()
            return row is not None and row[0] is not None and float(row[0]) >= end

        until(there, "the last slot is decided")
        rows = [row for row in self._db.execute(FIRED).fetchall() if begin <= row[0].timestamp() < end]
        fired = [row for row in rows if row[2] == "fired"]
        jobs = self._db.execute(JOBS).fetchone()
        assert jobs is not None
        doubled = sum(row[1] - 1 for row in rows) + (jobs[0] - jobs[1])
        return taken, float(slots - len(fired)), float(doubled), {"slots": slots, "kills": len(taken)}
