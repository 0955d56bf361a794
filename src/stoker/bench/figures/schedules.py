"""Schedules: how late ten thousand entries of one minute are, how long a hundred thousand take to load, what a thousand
that are not due cost, and how long the next moment takes to find in every zone there is."""

from __future__ import annotations

import heapq
import json
import time
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw

from stoker import settings as settings_module
from stoker.bench.daemon import Daemon, until
from stoker.bench.figures.idle import SETTLE
from stoker.bench.figures.pool_idle import wakes
from stoker.bench.result import Result, Target
from stoker.bench.run import Run
from stoker.model.cron import cron
from stoker.schedule import files

FIGURES = {
    "tick_lateness_p99": Target(most=250), "load_100k": Target(most=2), "schedule_next_zones": Target(most=1),
    "schedules_idle_wakeups": Target(),
}  # fmt: skip
ENV = "bench"
MINUTE = 60
FAR = "0 0 1 1 *"
TICKED = "SELECT name, slot, at FROM slots WHERE slot >= ?1 AND slot < ?2"


def write(folder: Path, entries: list[dict[str, Any]], settings: str = "") -> None:
    """The files of a project with these schedules."""
    place = folder / "schedules"
    place.mkdir(parents=True, mode=0o755)
    path = place / f"cron.{ENV}.json"
    path.write_text(json.dumps([{"active": 1, **entry} for entry in entries]))
    path.chmod(0o644)
    (folder / "stoker.toml").write_text(f'{settings}\n[schedules]\nenv = "{ENV}"\n')


def measure(run: Run) -> Iterator[Result]:
    yield _lateness(run)
    yield _load(run)
    yield _next(run)
    yield _idle(run)


def _lateness(run: Run) -> Result:
    """Milliseconds from a slot to its decision, with its job, on disk; every entry is due once within one minute."""
    count = run.effort.scheduled
    folder = run.fresh()
    write(folder, [
        {"name": f"entry {number}", "schedule": f"{number % MINUTE} * * * * *", "job": "bench.coroutine"}
        for number in range(count)
    ])  # fmt: skip
    with Daemon(folder, "bench_app") as daemon:
        begin = (int(time.time()) // MINUTE + 1) * MINUTE
        db = apsw.Connection(str(daemon.settings.store_path), flags=apsw.SQLITE_OPEN_READONLY)

        def found() -> list[Any]:
            return list(db.execute(TICKED, (begin, begin + MINUTE)).fetchall())

        bare = _bare([begin + number % MINUTE for number in range(count)])
        until(lambda: len(found()) >= count, "every entry was fired", 2.0 * MINUTE)
        rows = found()
        db.close()
    if len({row[0] for row in rows}) != count or len(rows) != count:
        raise RuntimeError(f"{len(rows)} slots were decided instead of {count}")
    late = sorted(1000 * (row[2] - row[1]) for row in rows)
    return run.result(
        "tick_lateness_p99", [_p99(late)], "ms", entries=count, p50_ms=round(late[len(late) // 2], 2),
        worst_ms=round(late[-1], 2), bare_loop_p99_ms=round(_p99(sorted(bare)), 3),
    )  # fmt: skip


def _bare(moments: list[float]) -> list[float]:
    """How late a loop is that does nothing but wait for these moments, in the same minute, on the same machine."""
    heapq.heapify(moments)
    late = []
    while moments:
        at = heapq.heappop(moments)
        time.sleep(max(0.0, at - time.time()))
        late.append(1000 * (time.time() - at))
    return late


def _p99(values: list[float]) -> float:
    return values[int(len(values) * 0.99)]


def _load(run: Run) -> Result:
    count = run.effort.scheduled * 10
    folder = run.fresh()
    write(folder, [
        {"name": f"entry {number}", "schedule": f"{number % 60} {number % 24} * * *", "job": "bench.noop"}
        for number in range(count)
    ])  # fmt: skip
    settings = settings_module.load({"root": str(folder)}, environ={})

    busy: list[float] = []

    def seconds() -> float:
        begun, before = time.perf_counter(), time.process_time()
        book = files.load(settings)
        passed = time.perf_counter() - begun
        busy.append(time.process_time() - before)
        if len(book.entries) != count:
            raise RuntimeError(f"{len(book.entries)} entries were loaded instead of {count}: {book.problems[:1]}")
        return passed

    def floor() -> float:
        path = folder / "schedules" / f"cron.{ENV}.json"
        begun = time.perf_counter()
        json.loads(path.read_bytes())
        return time.perf_counter() - begun

    values, parsing = run.alternate(seconds, floor)
    return run.result("load_100k", values, "s", entries=count, cpu_s=round(min(busy), 2),
                      json_alone_s=round(sorted(parsing)[0], 3))  # fmt: skip


def _next(run: Run) -> Result:
    """Milliseconds of the slowest zone, each the best of three, so that it is the zone's and not the machine's."""
    zones = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules"})
    made = [cron("30 2 * * *", zone) for zone in zones]
    now = time.time()

    def slowest() -> float:
        worst = 0.0
        for one in made:
            tries = []
            for day in range(3):
                begun = time.perf_counter()
                one.next(now + day * 86400)
                tries.append(time.perf_counter() - begun)
            worst = max(worst, min(tries))
        return 1000 * worst

    (values,) = run.alternate(slowest)
    return run.result("schedule_next_zones", values, "ms", zones=len(zones))


def _idle(run: Run) -> Result:
    """How much oftener a minute the router wakes with a thousand entries that are not due than without any."""
    found: dict[bool, float] = {}
    for scheduled in (False, True):
        folder = run.fresh()
        entries = [{"name": f"entry {number}", "schedule": FAR, "job": "bench.noop"} for number in range(1000)]
        write(folder, entries if scheduled else [])
        with Daemon(folder, "bench_app") as daemon:
            daemon.client.call("bench.noop")
            daemon.wait_spares()
            daemon.client.close()
            time.sleep(min(SETTLE, run.effort.idle))
            router = daemon.processes()["router"]
            before = wakes(router)
            time.sleep(run.effort.idle)
            found[scheduled] = (wakes(router) - before) * 60 / run.effort.idle
    return run.result(
        "schedules_idle_wakeups", [found[True] - found[False]], "a minute", entries=1000,
        without_entries=round(found[False]), with_entries=round(found[True]), seconds=run.effort.idle,
    )  # fmt: skip
