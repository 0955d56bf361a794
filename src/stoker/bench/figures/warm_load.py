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
REACHED = 0.9
"""Part of the wanted rate that must have been kept up."""


def measure(run: Run) -> Iterator[Result]:
    folder = run.fresh()
    with warm.daemon(folder) as daemon:
        warm.drained(daemon, min(run.effort.warm, warm.WARM_UP))
        argv = ("-m", "stoker.bench.floors.clients", str(daemon.settings.socket_path), str(folder / "marks"))
        with Helper(run.folder, *argv, str(CLIENTS)) as clients:
            clients.ask(f"peak {run.effort.seconds / 3}")
            peaks: list[float] = []
            p50s: list[float] = []

            def p99() -> float:
                peaks.append(float(clients.ask(f"peak {run.effort.seconds / 3}")))
                wanted = peaks[-1] * SHARE
                found = json.loads(clients.ask(f"load {wanted} {run.effort.seconds}"))
                if found["rate"] < wanted * REACHED:
                    raise RuntimeError(f"{found['rate']:.0f} jobs/s were sent instead of {wanted:.0f}")
                p50s.append(found["p50"])
                return float(found["p99"])

            (values,) = run.alternate(p99)
    yield run.result(
        "warm_load_p99", values, "ms", clients=CLIENTS, peak_rates=[round(one) for one in peaks],
        p50s=[round(one, 2) for one in p50s],
    )  # fmt: skip
