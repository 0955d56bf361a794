"""How soon a job starts, and how soon its result is back, on a daemon that had nothing to do.

The floor is what cannot be avoided: one message to another process and back, and one commit that survives a power cut.
"""

from __future__ import annotations

import json
import socket
import statistics
import time
from collections.abc import Iterator

import apsw

from stoker.bench.daemon import Daemon, Helper
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"start_p50": Target(most=3), "start_p99": Target(most=10), "roundtrip_p50": Target()}
PAUSE = 0.01
"""Seconds of quiet before each sample, the floor's and the product's: an idle daemon is what is asked about."""
LINE = json.dumps({"type": "call", "id": 1, "method": "submit", "params": {"command": "bench.clock"}}).encode() + b"\n"


class Floor:
    """A round trip and a durable commit."""

    def __init__(self, run: Run, path: str) -> None:
        self._run = run
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.connect(path)
        self._db = apsw.Connection(str(run.folder / "floor.db"))
        self._db.pragma("journal_mode", "wal")
        self._db.pragma("synchronous", 2)
        self._db.execute("CREATE TABLE floor (seq INTEGER PRIMARY KEY, data BLOB NOT NULL)")

    def p50(self) -> float:
        """Milliseconds, the median."""
        seen = []
        for _ in range(self._run.effort.samples):
            time.sleep(PAUSE)
            begun = time.perf_counter()
            self._sock.sendall(LINE)
            answer = b""
            while not answer.endswith(b"\n"):
                answer += self._sock.recv(4096)
            self._db.execute("INSERT INTO floor (data) VALUES (?)", (LINE,))
            seen.append(time.perf_counter() - begun)
        return statistics.median(seen) * 1000

    def close(self) -> None:
        self._sock.close()
        self._db.close()


class Product:
    """Jobs one at a time; the handler answers with the moment it was entered."""

    def __init__(self, run: Run, daemon: Daemon) -> None:
        self._run = run
        self._daemon = daemon
        self.p99s: list[float] = []
        self.returns: list[float] = []

    def p50(self) -> float:
        """Milliseconds from just before submit to the handler's entry, the median; the rest is kept beside."""
        starts, returns = [], []
        for _ in range(self._run.effort.samples):
            self._daemon.wait_spares()
            time.sleep(PAUSE)
            begun = time.time()
            entered: float = self._daemon.client.call("bench.clock")
            returns.append(time.time() - begun)
            starts.append(entered - begun)
        self.p99s.append(percentile(starts, 99) * 1000)
        self.returns.append(statistics.median(returns) * 1000)
        return statistics.median(starts) * 1000


def percentile(values: list[float], part: int) -> float:
    return sorted(values)[min(len(values) - 1, len(values) * part // 100)]


def measure(run: Run) -> Iterator[Result]:
    path = str(run.folder / "echo.sock")
    with Helper(run.folder, "-m", "stoker.bench.floors.echo", path) as echo, Daemon(run.folder, "bench_app") as daemon:
        echo.ask()
        floor, product = Floor(run, path), Product(run, daemon)
        try:
            floors, values = run.alternate(floor.p50, product.p50)
        finally:
            floor.close()
        samples = run.effort.samples
    yield run.result("start_p50", values, "ms", floors, samples=samples)
    yield run.result("start_p99", product.p99s, "ms", floors, samples=samples)
    yield run.result("roundtrip_p50", product.returns, "ms", floors, samples=samples)
