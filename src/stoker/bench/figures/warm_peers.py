"""The same no-op jobs through peers, each at the best setting that was found, beside ours in the same run.

All of them are stored first and then let loose; while one is measured the workers of the others are stopped.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Iterator

from stoker.bench import peers, pg_server
from stoker.bench.daemon import DRIVERS, Helper
from stoker.bench.figures import warm
from stoker.bench.result import FAILED, Missing, Result, Target, last_line
from stoker.bench.run import Run

ON_REDIS = ("huey", "dramatiq", "taskiq", "saq", "celery", "rq")
PEERS = (*ON_REDIS, "pgqueuer")
TIMES = 3
"""As many jobs a second as the fastest of them, at least."""
FIGURES = {f"warm_vs_{name}": Target(least=TIMES) for name in PEERS}
PG_DRIVER = str(DRIVERS / "pg_peer.py")
PROBE = 500


class Contender:
    """A peer at one setting: which jobs it is given, what it does with them, and why it was given up, if it was."""

    def __init__(self, name: str, way: Helper, jobs: int) -> None:
        self.name = name
        self.jobs = jobs
        self.version = way.ask("version")
        self.failed = ""
        self._way = way

    def rate(self) -> float:
        """Jobs a second. One that breaks down does not take the others with it."""
        try:
            return 0.0 if self.failed else float(self._way.ask(str(self.jobs)))
        except RuntimeError as error:
            self.failed = f"{FAILED} {last_line(error)}"
            return 0.0


def measure(run: Run) -> Iterator[Result]:
    peers.python()
    with contextlib.ExitStack() as stack:
        contenders, missing = _contenders(run, stack)
        daemon = stack.enter_context(warm.daemon(run.fresh()))
        jobs = run.effort.warm
        warm.drained(daemon, min(jobs, warm.WARM_UP))
        values, *rates = run.alternate(lambda: warm.drained(daemon, jobs), *(one.rate for one in contenders))
    missing |= {one.name: one.failed for one in contenders if one.failed}
    for name in PEERS:
        ways = [(rate, one) for rate, one in zip(rates, contenders, strict=True) if one.name == name and not one.failed]
        if not ways:
            yield run.missing(f"warm_vs_{name}", "jobs/s", missing[name])
            continue
        best, chosen = max(ways, key=lambda way: statistics.median(way[0]))
        told = {f"not {one.version}": round(statistics.median(rate)) for rate, one in ways if one is not chosen}
        yield run.result(
            f"warm_vs_{name}", values, "jobs/s", best, jobs=jobs, jobs_of_peer=chosen.jobs, peer=chosen.version,
            ours=warm.HOW, **told,
        )  # fmt: skip


def _contenders(run: Run, stack: contextlib.ExitStack) -> tuple[list[Contender], dict[str, str]]:
    """All that can be had here, with so many jobs that a round takes each about as long; and why others cannot."""
    found: list[Contender] = []
    missing: dict[str, str] = {}

    def add(name: str, make: Callable[[], Helper]) -> None:
        try:
            way = stack.enter_context(make())
            way.ask(str(PROBE))
            rate = float(way.ask(str(PROBE)))  # the second look, after all is warm
            found.append(Contender(name, way, run.effort.count(rate, run.effort.warm)))
        except Missing as why:
            missing[name] = str(why)
        except RuntimeError as error:
            missing[name] = f"{FAILED} {last_line(error)}"

    try:
        url = peers.url(stack.enter_context(peers.redis(run.folder)))
        for name in ON_REDIS:
            add(name, lambda name=name: peers.Peer(run.folder / name, name, url))  # type: ignore[misc]
    except Missing as why:
        missing = dict.fromkeys(ON_REDIS, str(why))
    add("huey", lambda: peers.Peer(run.folder / "huey-file", "huey", str(run.folder / "huey.db")))
    try:
        database = stack.enter_context(pg_server.server(run.folder / "pg", pg_server.programs()))
        add("pgqueuer", lambda: Helper(run.folder, PG_DRIVER, "pgqueuer", database, python=peers.python()))
    except Missing as why:
        missing["pgqueuer"] = str(why)
    return found, missing
