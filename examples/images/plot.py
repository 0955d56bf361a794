"""Thumbnails per second, and how long another request waits meanwhile: with the pool, and without a daemon.

    python plot.py [--out FOLDER] [--seconds 3] [--workers 2] [--connections 1 2 4 8]

Starts a daemon and the application in a folder of their own, asks for thumbnails from so many connections, and asks for
/health all the while; then the same once more with the daemon stopped. Writes throughput.png and throughput.json.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
from pictures import make

HERE = Path(__file__).parent
HEALTH_EVERY = 0.02
WITHIN = 30.0

Found = dict[str, list[dict[str, Any]]]
"""By the way they were made: a row for each number of connections."""


def request(line: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> tuple[Any, bytes]:
    """One request on a connection that stays; its headers and its body."""
    line.request(method, path, body)
    answer = line.getresponse()
    data = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path}: {answer.status}: {data[:200]!r}")
    return answer.headers, data


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure(port: int, pictures: list[bytes], parallel: int, seconds: float) -> dict[str, Any]:
    """Ask from so many connections for so long."""
    end = time.monotonic() + seconds
    made: Counter[str] = Counter()
    waits: list[float] = []

    def asks(first: int) -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(first, 1_000_000):
            if time.monotonic() > end:
                break
            headers, _ = request(line, "POST", "/thumb", pictures[number % len(pictures)])
            made[headers["X-Made-By"]] += 1
        line.close()

    def looks() -> None:
        line = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.monotonic() < end:
            begun = time.perf_counter()
            request(line, "GET", "/health")
            waits.append(time.perf_counter() - begun)
            time.sleep(HEALTH_EVERY)
        line.close()

    begun = time.monotonic()
    with ThreadPoolExecutor(parallel + 1) as pool:
        for done in [*(pool.submit(asks, number) for number in range(parallel)), pool.submit(looks)]:
            done.result()
    rate = sum(made.values()) / (time.monotonic() - begun)
    return {"parallel": parallel, "rate": rate, "health_p99_ms": 1000 * percentile(waits, 0.99), "by": dict(made)}


def until(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {WITHIN:g} s: {what}")
        time.sleep(0.05)


@contextmanager
def running(folder: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen([sys.executable, "-m", *argv], cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def measured(folder: Path, pictures: list[bytes], connections: list[int], seconds: float) -> Found:
    """Both ways, one after the other."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    def lives() -> bool | None:
        if web.poll() is not None:
            raise RuntimeError("the application ended")
        try:
            line = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            found: bool = json.loads(request(line, "GET", "/health")[1])["worker_lives"]
        except OSError:
            return None
        line.close()
        return found

    found: Found = {}
    with running(folder, "uvicorn", "app:app", "--port", str(port), "--log-level", "warning") as web:
        with running(folder, "stoker", "up", "images:images"):
            until(lambda: bool(lives()), "a worker")
            found["pool"] = [measure(port, pictures, number, seconds) for number in connections]
        until(lambda: lives() is False, "the end of the workers")
        found["inline"] = [measure(port, pictures, number, seconds) for number in connections]
    return found


def draw(found: Found, workers: int, path: Path) -> None:
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    names = {"pool": f"pool of {workers} workers", "inline": "no daemon: in the application"}
    for axes, field, title in (
        (left, "rate", "thumbnails per second"),
        (right, "health_p99_ms", "GET /health meanwhile, 99 of 100 (ms)"),
    ):
        for (way, rows), marker in zip(found.items(), "os", strict=True):
            axes.plot([row["parallel"] for row in rows], [row[field] for row in rows], f"{marker}-", label=names[way])
        axes.set(title=title, xlabel="connections", xticks=[row["parallel"] for row in found["pool"]], ylim=(0, None))
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("build"))
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--pictures", type=Path, help="a folder with those that pictures.py made")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 8))
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in HERE.glob("*.py"):
            shutil.copy(path, folder)
        (folder / "products.json").write_text(json.dumps({"images": {"workers": given.workers}}))
        try:
            pictures = [path.read_bytes() for path in make(given.pictures or folder / "pictures")]
            found = measured(folder, pictures, given.connections, given.seconds)
        except Exception:
            print((folder / "log.txt").read_text(errors="replace")[-3000:], file=sys.stderr)
            raise
    (given.out / "throughput.json").write_text(json.dumps(found, indent=1))
    draw(found, given.workers, given.out / "throughput.png")
    for way, rows in found.items():
        for row in rows:
            rate, health = row["rate"], row["health_p99_ms"]
            print(f"{way:7} {row['parallel']:2} connections: {rate:6.1f}/s, health {health:6.1f} ms")


if __name__ == "__main__":
    main()
