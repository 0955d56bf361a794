"""How soon a job starts in a worker that stays, beside the two peers that are quickest at it, both on Redis."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator

from stoker.bench import peers
from stoker.bench.daemon import Daemon
from stoker.bench.figures import warm
from stoker.bench.figures.start import PAUSE, percentile
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"warm_start_p50": Target(most=1), "warm_start_p99": Target(most=1)}
PEERS = ("huey", "taskiq")
COMMAND = "warm.clock"


class Starts:
    """Milliseconds from just before submit to the handler's entry: the medians and the 99th of 100, by round."""

    def __init__(self) -> None:
        self.p50s: list[float] = []
        self.p99s: list[float] = []

    def note(self, seen: list[float]) -> float:
        self.p50s.append(statistics.median(seen))
        self.p99s.append(percentile(seen, 99))
        return self.p50s[-1]


def ours(daemon: Daemon, samples: int) -> list[float]:
    seen = []
    for _ in range(samples):
        time.sleep(PAUSE)
        begun = time.time()
        entered: float = daemon.client.call(COMMAND)
        seen.append((entered - begun) * 1000)
    return seen


def theirs(peer: peers.Peer, samples: int) -> list[float]:
    found: list[float] = json.loads(peer.ask(f"start {samples}"))
    return found


def measure(run: Run) -> Iterator[Result]:
    peers.python()
    samples = run.effort.samples
    product, huey, taskiq = Starts(), Starts(), Starts()
    with peers.redis(run.folder) as socket:
        first, second = (peers.Peer(run.folder / name, name, peers.url(socket)) for name in PEERS)
        with first, second, warm.daemon(run.fresh()) as daemon:
            ours(daemon, 1)
            run.alternate(
                lambda: product.note(ours(daemon, samples)),
                lambda: huey.note(theirs(first, samples)),
                lambda: taskiq.note(theirs(second, samples)),
            )
            versions = " / ".join(one.ask("version") for one in (first, second))
    for name in ("p50", "p99"):
        values, *found = (getattr(one, f"{name}s") for one in (product, huey, taskiq))
        told = {f"{peer}_ms": round(statistics.median(rounds), 3) for peer, rounds in zip(PEERS, found, strict=True)}
        best = min(found, key=statistics.median)
        yield run.result(f"warm_start_{name}", values, "ms", best, samples=samples, peer=versions, **told)
