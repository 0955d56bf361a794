"""How soon a job that is submitted on one node starts on another, where both had nothing to do.

The floor is what cannot be avoided: one commit that survives a power cut and tells another connection of it.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator

from bench.postgres import FLOOR, Bare, Fleet, Loop, server
from stoker.bench.daemon import Daemon, until
from stoker.bench.figures.start import PAUSE, percentile
from stoker.bench.result import Missing, Result, Target
from stoker.bench.run import Run

FIGURES = {"pg_start_p50": Target(most=4), "pg_start_p99": Target()}
COMMAND = "bench.clock"
PLAIN = "CREATE TABLE floor.plain (n bigint GENERATED ALWAYS AS IDENTITY, data bytea NOT NULL)"
INSERT = "WITH one AS (INSERT INTO floor.plain (data) VALUES ($1) RETURNING n) SELECT pg_notify('floor', '') FROM one"


class BareNotify(Bare):
    """One connection writes and notifies, another listens."""

    async def prepare(self) -> None:
        self._heard = asyncio.Event()
        await self.db[0].execute(PLAIN)
        await self.db[1].add_listener(FLOOR, lambda *_: self._heard.set())

    def p50(self, samples: int) -> float:
        """Milliseconds, the median."""
        return self.run(self._p50(samples))

    async def _p50(self, samples: int) -> float:
        seen = []
        for _ in range(samples):
            await asyncio.sleep(PAUSE)
            self._heard.clear()
            begun = time.perf_counter()
            done = asyncio.ensure_future(self.db[0].fetch(INSERT, bytes(100)))
            await self._heard.wait()
            seen.append(time.perf_counter() - begun)
            await done
        return statistics.median(seen) * 1000


class Product:
    """Jobs one at a time; the handler answers with the moment it was entered."""

    def __init__(self, samples: int, here: Daemon, there: Daemon) -> None:
        self._samples = samples
        self._here = here
        self._there = there
        self.p99s: list[float] = []

    def p50(self) -> float:
        """Milliseconds from just before submit to the handler's entry, the median; the 99th of 100 is kept beside."""
        seen = []
        for _ in range(self._samples):
            self._there.wait_spares()
            time.sleep(PAUSE)
            begun = time.time()
            entered: float = self._here.client.call(COMMAND)
            seen.append(entered - begun)
        self.p99s.append(percentile(seen, 99) * 1000)
        return statistics.median(seen) * 1000


def measure(run: Run) -> Iterator[Result]:
    try:
        yield from _measure(run)
    except Missing as missing:
        for name in FIGURES:
            yield run.missing(name, "ms", str(missing))


def _measure(run: Run) -> Iterator[Result]:
    samples = run.effort.samples
    with server(run) as at, Loop() as loop, BareNotify(loop, at, 2) as bare, Fleet(run.folder, at, 2) as fleet:
        loop(bare.prepare())
        here, there = fleet.daemons
        here.client.ask("cordon", node=here.settings.node)
        until(lambda: bool(here.client.stats()["cordoned"]), "the first node is cordoned")
        product = Product(samples, here, there)
        floors, values = run.alternate(lambda: bare.p50(samples), product.p50)
    yield run.result("pg_start_p50", values, "ms", floors, samples=samples)
    yield run.result("pg_start_p99", product.p99s, "ms", floors, samples=samples)
