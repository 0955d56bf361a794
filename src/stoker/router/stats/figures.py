"""Figures and health, for people, programs and Prometheus."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec

from stoker._version import __version__
from stoker.model.clock import Clock
from stoker.model.errors import StoreError
from stoker.model.job import State
from stoker.model.stats import MB, Sample, WorkerInfo
from stoker.router.dispatch.dispatcher import Dispatcher
from stoker.router.jobs.attempt import Attempt
from stoker.router.jobs.claimer import Claimer
from stoker.router.jobs.desk import Desk
from stoker.router.jobs.explain import idle_reason, is_for_us
from stoker.router.pools.pool import Pool
from stoker.router.pools.record import pool_record
from stoker.router.stats.prometheus import Page
from stoker.router.stats.tally import CommandTally, Tally
from stoker.settings import Current
from stoker.store.base import Counts, Store
from stoker.wire.records import iso

STUCK_AFTER = 10.0
"""Seconds that a job is ready while nothing works before that is called ill."""
MANY = 100_000
"""Ended jobs from which on they are not counted for every question: of a million each count takes 0.1 s and more."""
COUNT_SHARE, COUNT_WITHIN = 20, 10.0
"""They are counted again after so many times as long as that took, and after so many seconds at most."""
STORE_WITHIN = 2.0
"""Seconds the store has to answer; who asks whether we live must hear it in time, whatever has become of the store."""


class Figures:
    """Answers about the daemon as a whole."""

    def __init__(
        self, settings: Current, store: Store, clock: Clock, boot: str, pool: Pool, desk: Desk, claimer: Claimer,
        tally: Tally, dispatcher: Dispatcher,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._clock = clock
        self._boot = boot
        self._pool = pool
        self._desk = desk
        self._claimer = claimer
        self._tally = tally
        self._dispatcher = dispatcher
        self._begun = clock.mono()
        self.clients: dict[str, int] = {"script": 0, "web": 0}
        self.streams: dict[object, tuple[int, int]] = {}
        """Open streams behind each bridge, and how many it lets in."""
        self.latest: Sample | None = None
        """What the sampler found last."""
        self._counted = Counts()
        self._counted_until = 0.0
        """When ended jobs are to be counted again."""

    async def stats(self) -> dict[str, Any]:
        """Uptime, active consumers and queued jobs; and what is behind them."""
        counts, away = await self._counts()
        attempts = self._desk.attempts
        zygote = self._pool.zygote
        return {
            "version": __version__,
            "node": self._settings().node,
            "boot": self._boot,
            "pid": os.getpid(),
            "zygote": zygote.pid if zygote else None,
            "uptime": round(self._clock.mono() - self._begun, 3),
            "consumers": sum(1 for attempt in attempts if attempt.place is not None),
            "consumers_max": self._settings().max_tasks or self._settings().consumers_max,
            "queued": counts.ready + counts.held,
            "scheduled": counts.scheduled,
            "running": counts.running,
            "completed": counts.completed,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
            "rate": round(self._tally.rate(self._clock.mono()), 3),
            "submitted": self._tally.submitted,
            "clients": dict(self.clients),
            "streams": self.open_streams,
            "paused": sorted(self._claimer.paused),
            "store": self._settings().store_shown,
            "store_away": away,
            "labels": list(self._settings().labels),
            "cordoned": self._claimer.cordoned,
            "socket": self._settings().socket,
            "commands": sorted(self._pool.commands),
            "slots": [self._slot(attempt) for attempt in sorted(attempts, key=lambda a: a.born)],
            "pools": [pool_record(residents) for residents in self._pool.pools],
            "health": self._health(counts, away),
        }

    @property
    def open_streams(self) -> dict[str, int]:
        """Of browsers, behind all bridges of this node."""
        told = list(self.streams.values())
        return {"open": sum(count for count, _ in told), "max": sum(most for _, most in told)}

    async def _counts(self, *, ended: bool = True) -> tuple[Counts, str | None]:
        """As they are; when the store does not answer, as they were, and what is the matter. Where a great many have
        ended, those are as they were some seconds ago at most; without ``ended`` they are of any time."""
        begun = self._clock.mono()
        count = ended and begun >= self._counted_until
        try:
            async with asyncio.timeout(STORE_WITHIN):
                found = await self._store.counts(ended=count)
        except StoreError as error:
            return self._counted, error.message
        except TimeoutError:
            return self._counted, f"it did not answer within {STORE_WITHIN:g} s"
        if not count:
            was = self._counted
            found = msgspec.structs.replace(found, completed=was.completed, failed=was.failed, cancelled=was.cancelled)
        elif found.completed + found.failed + found.cancelled >= MANY:
            now = self._clock.mono()
            self._counted_until = now + min(COUNT_WITHIN, COUNT_SHARE * (now - begun))
        self._counted = found
        return found, None

    def _slot(self, attempt: Attempt) -> dict[str, Any]:
        place = attempt.place
        return {
            "job": attempt.job.id,
            "command": attempt.job.command,
            "attempt": attempt.job.attempt,
            "user": attempt.job.user,
            "pid": place.pid if place is not None else None,
            "isolation": str(attempt.spec.isolated(self._pool.default)),
            "seconds": round(self._clock.mono() - attempt.born, 3),
            "progress": attempt.progress,
        }

    async def health(self) -> dict[str, Any]:
        """``ok`` is False when jobs wait that are for this node and nothing runs, when a pool is broken, and when the
        store is away."""
        return self._health(*await self._counts(ended=False))

    def _health(self, counts: Counts, away: str | None) -> dict[str, Any]:
        ours = [
            since
            for command, since in counts.ready_since.items()
            if is_for_us(command, self._store, self._pool, self._claimer)
        ]
        broken = [residents.why() or "" for residents in self._pool.pools if residents.broken and not residents.live]
        reason = idle_reason(self._pool, self._claimer, self._pool.commands)
        waits = max(0.0, self._store.now() - min(ours)) if ours else 0.0
        if reason is None and waits > STUCK_AFTER and not self._desk.busy:
            reason = f"a job has been ready for {waits:.0f} s and nothing runs"
        ill = reason is not None and counts.oldest_ready is not None
        silent = [told for residents in self._pool.pools if (told := residents.silence()) is not None]
        quiet = reason or "; ".join([*broken, *silent]) or "ok"
        text = f"jobs are waiting and nobody works: {reason}" if ill else quiet
        if away is not None:
            text = f"the store is away: {away}"
        ok = not ill and not broken and self._pool.ready and away is None
        return {"ok": ok, "message": text, "oldest_ready": iso(counts.oldest_ready)}

    async def command_figures(self) -> list[dict[str, Any]]:
        """Per command: totals, mean seconds, failure rate in percent, and results that say they failed."""
        rows = []
        for row in await self._store.command_stats():
            rows.append(
                {
                    "command": row.command,
                    "total": row.total,
                    "completed": row.completed,
                    "failed": row.failed,
                    "cancelled": row.cancelled,
                    "unwell": row.unwell,
                    "seconds": row.seconds,
                    "run_seconds": row.run_seconds,
                    "failure_rate": round(100 * row.failed / row.total) if row.total else 0,
                    **self._durations(row.command),
                }
            )
        return rows

    def _durations(self, command: str) -> dict[str, Any]:
        """How long jobs of a command waited and ran, in this daemon since its start."""
        tally = self._tally.commands.get(command) or CommandTally()
        return {"waits": tally.waits.summary(), "runs": tally.runs.summary()}

    async def prometheus(self) -> str:
        """What Prometheus reads. Of processes: as they were at the last sample."""
        counts, away = await self._counts()
        settings, page = self._settings(), Page()
        page.family(
            "stoker_info",
            "gauge",
            "This daemon.",
            [({"node": settings.node, "boot": self._boot, "version": __version__}, 1)],
        )
        page.family("stoker_uptime_seconds", "gauge", "How long it runs.", [({}, self._clock.mono() - self._begun)])
        page.family(
            "stoker_jobs",
            "gauge",
            "Jobs in the store by state.",
            [({"state": state}, getattr(counts, state)) for state in State],
        )
        page.family(
            "stoker_jobs_waiting",
            "gauge",
            "New jobs by what they wait for.",
            [({"for": "slot"}, counts.ready), ({"for": "time"}, counts.scheduled), ({"for": "key"}, counts.held)],
        )
        page.family(
            "stoker_oldest_ready_seconds",
            "gauge",
            "Age of the first ready job.",
            [({}, self._age(counts.oldest_ready))],
        )
        page.family(
            "stoker_slots",
            "gauge",
            "Slots for jobs, and how many are busy.",
            [
                ({"kind": "all"}, settings.max_tasks or settings.consumers_max),
                ({"kind": "busy"}, len(self._desk.attempts)),
            ],
        )
        streams = self.open_streams
        page.family(
            "stoker_streams",
            "gauge",
            "Open streams of browsers, and how many are let in.",
            [({"kind": kind}, streams[kind]) for kind in ("open", "max")],
        )
        page.family("stoker_submitted_total", "counter", "Jobs stored by this daemon.", [({}, self._tally.submitted)])
        self._commands(page)
        self._pools(page)
        if self.latest is not None:
            _processes(page, self.latest)
        page.family(
            "stoker_healthy",
            "gauge",
            "Whether jobs that wait are worked on.",
            [({}, int(self._health(counts, away)["ok"]))],
        )
        page.family("stoker_store_up", "gauge", "Whether the store answers.", [({}, int(away is None))])
        return page.text()

    def _commands(self, page: Page) -> None:
        tallies = sorted(self._tally.commands.items())
        page.family(
            "stoker_attempts_total",
            "counter",
            "Attempts that ended in this daemon.",
            [
                ({"command": name, "outcome": word}, count)
                for name, tally in tallies
                for word, count in (("done", tally.done), ("not_done", tally.not_done), ("snoozed", tally.snoozed))
                if count
            ],
        )
        page.family(
            "stoker_attempt_seconds_total",
            "counter",
            "Seconds spent in attempts.",
            [({"command": name}, tally.seconds) for name, tally in tallies],
        )
        page.histograms(
            "stoker_job_wait_seconds",
            "From the moment a job is due to its handler, first attempts.",
            [({"command": name}, tally.waits) for name, tally in tallies],
        )
        page.histograms(
            "stoker_job_run_seconds",
            "How long handlers take.",
            [({"command": name}, tally.runs) for name, tally in tallies],
        )
        page.family("stoker_dispatched_total", "counter", "Dispatches that ended, which are never stored.", [
            ({"command": command, "outcome": word}, count)
            for (command, word), count in sorted(self._dispatcher.counts.items())])  # fmt: skip

    def _pools(self, page: Page) -> None:
        pools = [
            ({"product": pool.spec.product, "isolation": str(pool.spec.isolation)}, pool) for pool in self._pool.pools
        ]
        page.family("stoker_pool_workers", "gauge", "Live workers.", [(name, len(pool.live)) for name, pool in pools])
        page.family(
            "stoker_pool_active_jobs",
            "gauge",
            "Jobs in workers.",
            [(name, sum(worker.active for worker in pool.workers)) for name, pool in pools],
        )
        page.family(
            "stoker_pool_waiting_jobs",
            "gauge",
            "Jobs that wait for a worker.",
            [(name, len(pool.waiting)) for name, pool in pools],
        )
        page.family(
            "stoker_pool_replaced_total",
            "counter",
            "Workers that died.",
            [(name, pool.replaced) for name, pool in pools],
        )
        page.family("stoker_pool_broken", "gauge", "Whether no workers are made any more.", [
            (name, int(pool.broken is not None)) for name, pool in pools])  # fmt: skip

    def _age(self, oldest: float | None) -> float:
        return 0.0 if oldest is None else max(0.0, self._store.now() - oldest)


def _processes(page: Page, sample: Sample) -> None:
    """Of workers, and of what the daemon consists of besides."""
    workers = [({"product": one.product, "isolation": one.isolation, "pid": one.pid}, one) for one in sample.workers]
    for name, kind, about, value in WORKERS:
        page.family(f"stoker_worker_{name}", kind, about, [
            (labels, found) for labels, one in workers if (found := value(one)) is not None])  # fmt: skip
    others = [({"role": one.role, "pid": one.pid}, one) for one in sample.processes]
    page.family(
        "stoker_process_cpu_seconds_total",
        "counter",
        "Processor time of the daemon's own processes.",
        [(labels, one.cpu_seconds) for labels, one in others],
    )
    page.family("stoker_process_resident_memory_bytes", "gauge", "Memory of the daemon's own processes.", [
        (labels, round(one.rss_mb * MB)) for labels, one in others])  # fmt: skip


def _bytes(mb: float | None) -> int | None:
    return None if mb is None else round(mb * MB)


def _ratio(percent: float | None) -> float | None:
    return None if percent is None else percent / 100


WORKERS: tuple[tuple[str, str, str, Callable[[WorkerInfo], float | None]], ...] = (
    ("active_jobs", "gauge", "Jobs in a worker.", lambda one: one.active_jobs),
    ("jobs_total", "counter", "Jobs that a worker has done.", lambda one: one.done),
    ("cpu_seconds_total", "counter", "Processor time of a worker.", lambda one: one.cpu_seconds),
    ("busy_ratio", "gauge", "Part of its slots' time that was jobs.", lambda one: _ratio(one.busy_percent)),
    ("loop_utilization_ratio", "gauge", "Part of the time its loop was busy.", lambda one: _ratio(one.elu_percent)),
    ("resident_memory_bytes", "gauge", "Memory of a worker.", lambda one: _bytes(one.rss_mb)),
    ("unique_memory_bytes", "gauge", "What of it no other process shares.", lambda one: _bytes(one.uss_mb)),
    ("heap_used_bytes", "gauge", "What its Python has allocated.", lambda one: _bytes(one.heap_used_mb)),
    ("heap_total_bytes", "gauge", "What its Python holds for that.", lambda one: _bytes(one.heap_total_mb)),
)
