"""From a running job to browsers: how soon, at what memory, and how many."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from stoker.bench.daemon import Daemon, Helper, until
from stoker.bench.result import Result, Target
from stoker.bench.run import Run
from stoker.web import Identity, tokens

FIGURES = {
    "emit_p95_asgi": Target(most=10),
    "emit_p95_native": Target(most=5),
    "sse_rss_native": Target(most=4),
    "sse_rss_asgi": Target(most=20),
    "sse_fanout_native": Target(least=0.7),
    "sse_10k": Target(least=10_000),
    "streams_200": Target(least=0.95),
}
ADDRESS = "http://127.0.0.1:0"
READERS = ("-m", "stoker.bench.floors.readers")
WRITER = ("-m", "stoker.bench.floors.writer")
CLIENTS, MOST = 5000, 10_000
WARM_UP = 200
EVENTS = 10
"""Events that all clients get, each when all have the one before: so that none is written together with another."""
STREAMS, RATE = 200, 50
PAUSE = 0.02
MADE = re.compile(rb'"event":"emit","offset":\d+,"data":(\{.*?\}),"at"')


class Live(Daemon):
    """A daemon that serves browsers in both ways."""

    def __init__(self, folder: Path) -> None:
        options = {"web.listen": ADDRESS, "web.native": ADDRESS, "log_level": "info"}
        super().__init__(folder, "bench_live", **options)
        self.token = tokens.signer(self.settings).sign(Identity("bench", "main", level="viewer"), 3600)

    def port(self, kind: str) -> int:
        """Of ``browsers`` or ``streams``, as the log tells it."""
        shown = re.compile(rf"{kind} are served.*?http://127\.0\.0\.1:(\d+)")
        until(lambda: shown.search(self._said()) is not None, "the bridge is there")
        return int(shown.findall(self._said())[-1])

    def _said(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def bridge(self) -> psutil.Process:
        return psutil.Process(self.processes()["web"][0])


def measure(run: Run) -> Iterator[Result]:
    quick = run.effort.rounds == 1
    clients, most = (200, 400) if quick else (CLIENTS, MOST)
    with Live(run.fresh()) as daemon:
        ports = {"asgi": daemon.port("browsers"), "native": daemon.port("streams")}
        seen: dict[str, list[list[float]]] = {kind: [] for kind in ports}

        def p95(kind: str) -> float:
            seen[kind].append(sorted(_latencies(daemon, ports[kind], run.effort.samples)))
            return seen[kind][-1][len(seen[kind][-1]) * 95 // 100]

        for kind, values in zip(ports, run.alternate(lambda: p95("asgi"), lambda: p95("native")), strict=True):
            p50s = [round(statistics.median(some), 2) for some in seen[kind]]
            yield run.result(f"emit_p95_{kind}", values, "ms", samples=len(seen[kind][-1]), p50s=p50s)
        yield from _streams(run, daemon, ports["native"], 10 if quick else STREAMS, 1.0 if quick else 4.0)
    with Live(run.fresh()) as daemon:
        yield from _crowd(run, daemon, daemon.port("streams"), clients, most)
    with Live(run.fresh()) as daemon, Helper(run.folder, *READERS) as readers:
        yield run.result("sse_rss_asgi", [_rss(daemon, readers, daemon.port("browsers"), clients)], "KiB",
                         clients=clients)  # fmt: skip


def _latencies(daemon: Live, port: int, count: int) -> list[float]:
    """Milliseconds from ``ctx.emit`` to the event at a client, one by one."""
    handle = daemon.client.submit("live.emits", {"count": count, "pause": PAUSE})
    seen: list[float] = []
    with _stream(port, daemon.token, f"job:{handle.id}") as sock:
        data = b""
        while b"event: end" not in data:
            more = sock.recv(1 << 16)
            now = time.time()
            if not more:
                raise RuntimeError("the stream ended early")
            data += more
            *whole, data = data.split(b"\n\n")
            for event in whole:
                for made in MADE.findall(event):
                    seen.append(1000 * (now - float(json.loads(made)["data"])))
                if b"event: end" in event:  # the application sends chunks, so there is something before it
                    return seen[1:]
    return seen[1:]


@contextlib.contextmanager
def _stream(port: int, token: str, topics: str) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(
            f"GET /events?instance=one&topics={topics} HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        yield sock


def _rss(daemon: Live, readers: Helper, port: int, clients: int) -> float:
    """KiB that each further client costs the bridge."""
    readers.ask(f"open {port} {WARM_UP} {daemon.token} audience")
    bridge = daemon.bridge
    before = bridge.memory_info().rss
    readers.ask(f"open {port} {clients} {daemon.token} audience")
    return float((bridge.memory_info().rss - before) / clients / 1024)


def _crowd(run: Run, daemon: Live, port: int, clients: int, most: int) -> Iterator[Result]:
    with Helper(run.folder, *READERS) as readers, Helper(run.folder, *READERS) as others, \
            Helper(run.folder, *WRITER) as writer:  # fmt: skip
        yield run.result("sse_rss_native", [_rss(daemon, readers, port, clients)], "KiB", clients=clients)
        others.ask(f"open {writer.ask('port')} {clients + WARM_UP} none none")
        everyone, size = clients + WARM_UP, 200

        def ours() -> float:
            return _rate(everyone, readers, lambda: _send(daemon))

        def floor() -> float:
            return _rate(everyone, others, lambda: writer.ask(f"write 1 {size}"))

        values, floors = run.alternate(ours, floor)
        yield run.result("sse_fanout_native", values, "events/s", floors, clients=everyone, events=EVENTS, size=size)
        others.ask("close")
        opened = float(readers.ask(f"open {port} {most - everyone} {daemon.token} audience"))
        rate = _rate(most, readers, lambda: _send(daemon))
        yield run.result(
            "sse_10k", [float(daemon.client.ask("clients")["tabs"])], "clients", connects_a_second=round(
                (most - everyone) / opened), ms_first_to_last=round(1000 * most / rate), bridge_mb=round(
                daemon.bridge.memory_info().rss / 2**20),
        )  # fmt: skip


def _send(daemon: Live) -> None:
    daemon.client.send_to_all("web", 0, "all", {"number": 1})


def _rate(clients: int, readers: Helper, send: Callable[[], object]) -> float:
    """Deliveries a second, from the first byte of an event at a reader to the last."""
    seconds = 0.0
    for _ in range(EVENTS):
        sending = threading.Thread(target=send)
        sending.start()
        seconds += float(readers.ask("read 1"))
        sending.join()
    return clients * EVENTS / seconds


def _streams(run: Run, daemon: Live, port: int, count: int, seconds: float) -> Iterator[Result]:
    """Running jobs that stream at an even rate, each with a client from the beginning and one that comes late."""
    chunks = round(seconds * RATE)
    router, bridge = psutil.Process(daemon.processes()["router"][0]), daemon.bridge
    with Helper(run.folder, *READERS) as readers, Helper(run.folder, *READERS) as late:
        readers.ask("keep")
        late.ask("keep")
        with daemon.paused("live.chunks"):
            handles = daemon.submit("live.chunks", count, {"count": chunks, "rate": RATE})
            topics = " ".join(f"job:{handle.id}" for handle in handles)
            readers.ask(f"open {port} {count} {daemon.token} {topics}")
        cpu, begun = _cpu(router), time.perf_counter()
        used = _cpu(bridge)
        time.sleep(seconds / 2)
        late.ask(f"open {port} {count} {daemon.token} {topics}")
        took = float(readers.ask(f"check {chunks}"))
        wall = time.perf_counter() - begun
        late.ask(f"check {chunks}")
        yield run.result(
            "streams_200", [count * chunks / wall], "chunks/s", [float(count * chunks / seconds)], streams=count,
            chunks=chunks, late_clients=count, router_cpu=round((_cpu(router) - cpu) / wall, 2),
            bridge_cpu=round((_cpu(bridge) - used) / wall, 2), seconds_to_last=round(took, 2),
        )  # fmt: skip


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
