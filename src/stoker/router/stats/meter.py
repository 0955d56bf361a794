"""From what was counted and seen to figures: shares of time and rates are differences between two looks."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from stoker.model.command import Isolation
from stoker.model.stats import (
    MB,
    CommandInfo,
    Durations,
    JobsInfo,
    PoolInfo,
    ProcessInfo,
    SystemInfo,
    WorkerInfo,
)
from stoker.router.pools.pool import Pool
from stoker.router.pools.record import worker_state
from stoker.router.pools.resident import Resident, Turn
from stoker.router.pools.workers import Worker
from stoker.router.stats.histogram import Histogram
from stoker.router.stats.look import AT_LEAST, Host, Seen, Share, system_info
from stoker.router.stats.loops import EventLoop, MainThread
from stoker.router.stats.tally import CommandTally, Tally
from stoker.wire.records import iso


class Meter:
    """Remembers the look before. There is one for each who looks, so that nobody's periods are cut short by another."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._commands: dict[str, CommandTally] = {}
        self._host: Share | None = None
        self._shares: dict[tuple[int, str], Share] = {}
        self._threads: dict[int, MainThread] = {}
        self._loops: dict[int, EventLoop] = {}

    # ── what was counted ─────────────────────────────────────────────────────────────────────────────────────────────

    def commands(self) -> dict[str, CommandTally]:
        """What ended since the look before, by command; those of which nothing did are left out."""
        found = {}
        for name, now in self._tally.commands.items():
            before = self._commands.get(name)
            if before is None or before.total != now.total:
                found[name] = now.since(before)
                self._commands[name] = now.copy()
        return found

    # ── what was seen ────────────────────────────────────────────────────────────────────────────────────────────────

    def system(self, host: Host) -> SystemInfo:
        if self._host is None:
            # the first look: what there was since the machine was started
            before = host.at - max(1.0, host.uptime)
            self._host = Share(before, 0.0)
        return system_info(host, self._host.look(host.at, host.busy / host.cores))

    def process(self, role: str, pid: int, seen: Seen) -> ProcessInfo:
        rss, uss, shared = _memory(seen)
        return ProcessInfo(
            role=role,
            pid=pid,
            cpu_percent=round(self._share(pid, "cpu", seen.born).look(seen.at, seen.cpu), 1),
            rss_mb=rss,
            uss_mb=uss,
            shared_mb=shared,
            cpu_seconds=round(seen.cpu, 3),
        )

    def worker(self, worker: Worker, pid: int, seen: Seen) -> WorkerInfo:
        rss, uss, shared = _memory(seen)
        resident = worker if isinstance(worker, Resident) else None
        vitals = None if resident is None else resident.vitals
        slots = 1 if resident is None else resident.slots
        first = min(worker.attempts.values(), key=lambda attempt: attempt.born, default=None)
        busy = worker.busy + _under_way(worker, seen.at)
        share = self._share(pid, "busy", seen.born)
        busy_percent = min(100.0, share.look(seen.at, busy / slots))
        elu = None if resident is None else self._loop(pid, resident, seen, busy, busy_percent)
        heard = None if resident is None else resident.heard_at
        return WorkerInfo(
            pid=pid,
            product="" if resident is None else resident.product,
            isolation=str(worker.isolation),
            state=_state(worker),
            slots=slots,
            active_jobs=len(worker.attempts) if resident is None else resident.active,
            done=0 if resident is None else resident.done,
            age=round(seen.at - seen.born, 3),
            cpu_percent=round(self._share(pid, "cpu", seen.born).look(seen.at, seen.cpu), 1),
            busy_percent=round(busy_percent, 1),
            elu_percent=None if elu is None else round(min(100.0, elu), 1),
            rss_mb=rss,
            uss_mb=uss,
            shared_mb=shared,
            heap_used_mb=None if vitals is None else _mb(vitals.heap_used),
            heap_total_mb=None if vitals is None else _mb(vitals.heap_total),
            job=None if first is None else first.job.id,
            command=None if first is None else first.job.command,
            heartbeat=iso(heard),
            cpu_seconds=round(seen.cpu, 3),
            busy_seconds=round(busy, 3),
        )

    def forget(self, pids: Iterable[int]) -> None:
        """All but these are gone."""
        kept = set(pids)
        self._shares = {key: share for key, share in self._shares.items() if key[0] in kept}
        self._threads = {pid: thread for pid, thread in self._threads.items() if pid in kept}
        self._loops = {pid: loop for pid, loop in self._loops.items() if pid in kept}

    def _share(self, pid: int, what: str, begun: float) -> Share:
        share = self._shares.get((pid, what))
        if share is None:
            share = self._shares[pid, what] = Share(begun, 0.0)
        return share

    def _loop(self, pid: int, worker: Resident, seen: Seen, busy: float, busy_percent: float) -> float | None:
        """How busy the loop is. An event loop that was asked long ago has not come round since."""
        if worker.isolation == Isolation.THREAD:
            return None
        if worker.alone:
            thread = self._threads.setdefault(pid, MainThread())
            ago = 0.0 if worker.heard_at is None else max(0.0, time.time() - worker.heard_at)
            busy_then = worker.busy + _under_way(worker, time.monotonic() - ago)
            return self._share(pid, "loop", seen.born).look(seen.at, thread.seconds(worker.vitals, busy, busy_then))
        loop = self._loops.setdefault(pid, EventLoop(seen.born))
        if worker.silent and worker.load:
            return 100.0 if worker.unheard >= AT_LEAST else loop.value
        moved = self._share(pid, "busy", seen.born).at == seen.at
        return loop.look(worker.vitals, seen.at, busy_percent, moved=moved)


def _under_way(worker: Worker, now: float) -> float:
    """Seconds that the jobs of a worker have taken so far."""
    begun = [attempt.born for attempt in worker.attempts.values() if not isinstance(attempt.place, Turn)]
    return sum(max(0.0, now - at) for at in begun)


def _state(worker: Worker) -> str:
    if not isinstance(worker, Resident):
        return "busy" if worker.attempts else "leaving" if worker.used else "spare"
    return worker_state(worker)


def _memory(seen: Seen) -> tuple[float, float | None, float | None]:
    rest = None if seen.uss is None else max(0, seen.rss - seen.uss)
    return round(seen.rss / MB, 1), _mb(seen.uss), _mb(rest)


def _mb(size: int | None) -> float | None:
    return None if size is None else round(size / MB, 1)


# ── by pool and by command ───────────────────────────────────────────────────────────────────────────────────────────


def pool_infos(
    pool: Pool, workers: Sequence[WorkerInfo], commands: Mapping[str, CommandTally], seconds: float
) -> list[PoolInfo]:
    """Every pool that has workers, or could have; then the consumers."""
    found = []
    for residents in pool.pools:
        product, kind = residents.spec.product, str(residents.spec.isolation)
        mine = [one for one in workers if one.product == product and one.isolation == kind]
        ended = [tally for name, tally in commands.items() if product and name.partition(".")[0] == product]
        found.append(
            _pool(product, kind, mine, ended, seconds, residents.slots, len(residents.waiting), residents.broken)
        )
    consumers = [one for one in workers if one.isolation == Isolation.FORK and one.state != "spare"]
    if consumers:
        found.append(_pool("", "fork", consumers, [], seconds, 1, 0, None))
    return found


def _pool(
    product: str, kind: str, workers: Sequence[WorkerInfo], ended: Sequence[CommandTally], seconds: float,
    slots: int, waiting: int, broken: str | None,
) -> PoolInfo:  # fmt: skip
    done, failed = _ends(ended)
    return PoolInfo(
        product=product,
        isolation=kind,
        live=sum(1 for worker in workers if worker.state != "starting"),
        slots=slots,
        active_jobs=sum(worker.active_jobs for worker in workers),
        waiting=waiting,
        done=done,
        failed=failed,
        rate=_rate(done + failed, seconds),
        busy_percent=round(sum(worker.busy_percent for worker in workers) / max(1, len(workers)), 1),
        cpu_percent=round(sum(worker.cpu_percent for worker in workers), 1),
        rss_mb=round(sum(worker.rss_mb for worker in workers), 1),
        broken=broken,
    )


def command_infos(commands: Mapping[str, CommandTally], seconds: float) -> list[CommandInfo]:
    return [
        CommandInfo(
            command=name,
            done=tally.done,
            failed=tally.not_done,
            snoozed=tally.snoozed,
            rate=_rate(tally.total, seconds),
            waits=durations(tally.waits),
            runs=durations(tally.runs),
        )
        for name, tally in sorted(commands.items())
    ]


def jobs_info(running: int, commands: Mapping[str, CommandTally], seconds: float) -> JobsInfo:
    done, failed = _ends(commands.values())
    return JobsInfo(running=running, done=done, failed=failed, rate=_rate(done + failed, seconds))


def durations(histogram: Histogram) -> Durations:
    return Durations(**histogram.summary())


def _ends(tallies: Iterable[CommandTally]) -> tuple[int, int]:
    """Attempts that were done, and that were not."""
    some = list(tallies)
    return sum(tally.done for tally in some), sum(tally.not_done for tally in some)


def _rate(count: int, seconds: float) -> float:
    return round(count / seconds, 3) if seconds > 0 else 0.0


# ── as they are stored ───────────────────────────────────────────────────────────────────────────────────────────────


class Stored(msgspec.Struct, kw_only=True):
    """What is kept of a period. Durations as histograms, so that periods can be put together again."""

    system: SystemInfo
    jobs: JobsInfo
    pools: list[PoolInfo] = []
    commands: dict[str, dict[str, Any]] = {}
    workers: list[WorkerInfo] | None = None
    """None where nobody wrote them down."""


def packed(tally: CommandTally) -> dict[str, Any]:
    return {
        "done": tally.done, "failed": tally.not_done, "snoozed": tally.snoozed,
        "waits": tally.waits.packed(), "runs": tally.runs.packed(),
    }  # fmt: skip


def unpacked(stored: Mapping[str, Any]) -> CommandTally:
    found = CommandTally()
    found.done, found.not_done, found.snoozed = stored["done"], stored["failed"], stored["snoozed"]
    found.waits, found.runs = Histogram.unpacked(stored["waits"]), Histogram.unpacked(stored["runs"])
    return found
