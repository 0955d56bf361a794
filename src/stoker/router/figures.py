"""Figures and health, for people, programs and Prometheus."""

from __future__ import annotations

import os
from typing import Any

from stoker._version import __version__
from stoker.model.clock import Clock
from stoker.router.attempt import Attempt
from stoker.router.claimer import Claimer
from stoker.router.desk import Desk
from stoker.router.dispatch import Dispatcher
from stoker.router.explain import idle_reason
from stoker.router.pool import Pool
from stoker.router.pools_record import pool_record
from stoker.router.tally import Tally
from stoker.settings import Current
from stoker.store.base import Store
from stoker.wire.records import iso

STATES = ("new", "running", "completed", "failed", "cancelled")
STUCK_AFTER = 10.0
"""Seconds that a job is ready while nothing works before that is called ill."""


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

    async def stats(self) -> dict[str, Any]:
        """The rows V57-V59 and V90: uptime, active consumers, queued jobs; and what is behind them."""
        counts = await self._store.counts()
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
            "paused": sorted(self._claimer.paused),
            "store": self._settings().store_shown,
            "labels": list(self._settings().labels),
            "cordoned": self._claimer.cordoned,
            "socket": self._settings().socket,
            "commands": sorted(self._pool.commands),
            "slots": [self._slot(attempt) for attempt in sorted(attempts, key=lambda a: a.born)],
            "pools": [pool_record(residents) for residents in self._pool.pools],
            "health": await self.health(counts.oldest_ready),
        }

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

    async def health(self, oldest_ready: float | None = None) -> dict[str, Any]:
        """``ok`` is False when jobs wait and nobody works on them."""
        if oldest_ready is None:
            oldest_ready = (await self._store.counts()).oldest_ready
        reason = idle_reason(self._pool, self._claimer, self._pool.commands)
        waits = 0.0 if oldest_ready is None else max(0.0, self._store.now() - oldest_ready)
        if reason is None and waits > STUCK_AFTER and not self._desk.busy:
            reason = f"a job has been ready for {waits:.0f} s and nothing runs"
        ill = reason is not None and oldest_ready is not None
        text = f"jobs are waiting and nobody works: {reason}" if ill else reason or "ok"
        return {"ok": not ill and self._pool.ready, "message": text, "oldest_ready": iso(oldest_ready)}

    async def command_figures(self) -> list[dict[str, Any]]:
        """Per command: totals, mean seconds (O78), failure rate in percent (O79), and results that say they failed."""
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
                }
            )
        return rows

    async def prometheus(self) -> str:
        """The text exposition format, version 0.0.4."""
        counts = await self._store.counts()
        lines = [
            "# HELP stoker_jobs Jobs in the store by state.",
            "# TYPE stoker_jobs gauge",
            *(f'stoker_jobs{{state="{state}"}} {getattr(counts, state)}' for state in STATES),
            "# HELP stoker_jobs_waiting New jobs by what they wait for.",
            "# TYPE stoker_jobs_waiting gauge",
            f'stoker_jobs_waiting{{for="slot"}} {counts.ready}',
            f'stoker_jobs_waiting{{for="time"}} {counts.scheduled}',
            f'stoker_jobs_waiting{{for="key"}} {counts.held}',
            "# HELP stoker_oldest_ready_seconds Age of the first ready job.",
            "# TYPE stoker_oldest_ready_seconds gauge",
            f"stoker_oldest_ready_seconds {self._age(counts.oldest_ready):.3f}",
            "# HELP stoker_slots Slots for jobs, and how many are busy.",
            "# TYPE stoker_slots gauge",
            f'stoker_slots{{kind="all"}} {self._settings().max_tasks or self._settings().consumers_max}',
            f'stoker_slots{{kind="busy"}} {len(self._desk.attempts)}',
            "# HELP stoker_submitted_total Jobs stored by this daemon.",
            "# TYPE stoker_submitted_total counter",
            f"stoker_submitted_total {self._tally.submitted}",
            "# HELP stoker_attempts_total Attempts that ended in this daemon.",
            "# TYPE stoker_attempts_total counter",
            *(
                f'stoker_attempts_total{{command="{command}",outcome="{word}"}} {count}'
                for (command, word), count in sorted(self._tally.by_command.items())
            ),
            "# HELP stoker_attempt_seconds_total Seconds spent in attempts.",
            "# TYPE stoker_attempt_seconds_total counter",
            *(
                f'stoker_attempt_seconds_total{{command="{command}"}} {seconds:.6f}'
                for command, seconds in sorted(self._tally.seconds.items())
            ),
            "# HELP stoker_dispatched_total Dispatches that ended, which are never stored.",
            "# TYPE stoker_dispatched_total counter",
            *(
                f'stoker_dispatched_total{{command="{command}",outcome="{word}"}} {count}'
                for (command, word), count in sorted(self._dispatcher.counts.items())
            ),
            "# HELP stoker_healthy Whether jobs that wait are worked on.",
            "# TYPE stoker_healthy gauge",
            f"stoker_healthy {int((await self.health(counts.oldest_ready))['ok'])}",
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def _age(self, oldest: float | None) -> float:
        return 0.0 if oldest is None else max(0.0, self._store.now() - oldest)
