"""How soon jobs start while ten clients submit, one by one, half as many as they can at most."""

from __future__ import annotations

import json
from collections.abc import Iterator

from stoker.bench.daemon import Helper
from stoker.bench.figures import warm
from stoker.bench.result import Result, Target
from stoker.bench.run import Run

FIGURES = {"warm_load_p99": Target(most=10)}
CLIENTS = 10
SHARE = 0.5


def measure(run: Run) -> Iterator[Result]:
    folder = run.fresh()
    with warm.daemon(folder) as daemon:
        warm.drained(daemon, min(run.effort.warm, warm.WARM_UP))
        argv = ("-m", "stoker.bench.floors.clients", str(daemon.settings.socket_path), str(folder / "marks"))
        with Helper(run.folder, *argv, str(CLIENTS)) as clients:
            clients.ask(f"peak {run.effort.seconds / 3}")
            peaks: list[float] = []
            loads: list[dict[str, float]] = []

            def p99() -> float:
                peaks.append(float(clients.ask(f"peak {run.effort.seconds / 3}")))
                loads.append(json.loads(clients.ask(f"load {peaks[-1] * SHARE} {run.effort.seconds}")))
                return loads[-1]["p99"]

            (values,) = run.alternate(p99)
    yield run.result(
        "warm_load_p99", values, "ms", clients=CLIENTS, peak_rates=[round(one) for one in peaks],
        rates=[round(one["rate"]) for one in loads], p50s=[round(one["p50"], 2) for one in loads],
    )  # fmt: skip
