"""What running jobs say, on its way into the store.

    said(a) ─┐
    said(b) ─┼──► gathered for REPORT_EVERY ──► one report at a time ──► whoever watches the jobs
    said(a) ─┘                                  what comes meanwhile joins the next

However long the store takes, one report stands in its line, and a job that says too much meanwhile is not read from.
The end of an attempt takes with it what was not yet reported (:mod:`stoker.router.jobs.endings`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence

import structlog

from stoker.model.errors import StokerError
from stoker.router.jobs.attempt import Attempt, Place
from stoker.router.jobs.audience import Audience
from stoker.store.base import Report, Store

log = structlog.get_logger(role="consumer")

REPORT_EVERY = 0.02
"""Seconds that events are gathered before they are written: at most fifty commits a second for all of them."""
SHARED_REPORT_EVERY = 0.05
"""The same for a store that many daemons write to."""
HUSH_AT = 1 << 20
"""Bytes of unwritten events after which a job is not read from until they are written."""


class Reports:
    """Writes what running attempts say. Events that the store does not take are lost, and the log says how many."""

    def __init__(self, store: Store, audience: Audience) -> None:
        self._store = store
        self._audience = audience
        self._every = SHARED_REPORT_EVERY if store.shared else REPORT_EVERY
        self._unwritten: dict[int, Attempt] = {}
        self._hushed: dict[int, Place] = {}
        """Places that are not read from, by the run that said too much."""
        self._timer: asyncio.TimerHandle | None = None
        self._last = self._due = -math.inf
        self._writing: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether something is being written."""
        return self._writing is not None

    def soon(self, attempt: Attempt) -> None:
        """An attempt has said something; its end reports what an ended one says."""
        if attempt.ended:
            return
        self._unwritten[attempt.run] = attempt
        if attempt.event_bytes > HUSH_AT and attempt.place is not None:
            self._hushed[attempt.run] = attempt.place
            attempt.place.hush()
        if self._writing is not None:
            return
        now = asyncio.get_running_loop().time()
        # where somebody may wait for it, the first goes at once, and whatever follows within the time together
        watched = self._store.shared or self._audience.watches(attempt.job.id)
        self._write_at(max(now, self._last + self._every) if watched else now + self._every)

    def leave(self, attempt: Attempt) -> None:
        """It has ended: its end takes the rest with it, and its place is for others."""
        self._unwritten.pop(attempt.run, None)
        self._hear(attempt.run)

    def _hear(self, run: int) -> None:
        """What it said is on its way: its place is read from again, unless another run there has said too much."""
        place = self._hushed.pop(run, None)
        if place is not None and place not in self._hushed.values():
            place.listen()

    def _write_at(self, due: float) -> None:
        if self._timer is None or due < self._due:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._due = asyncio.get_running_loop().call_at(due, self._begin), due

    def _begin(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        if not self._unwritten:
            return
        self._last = loop.time()
        some, self._unwritten = list(self._unwritten.values()), {}
        self._writing = loop.create_task(self._write(some))

    async def _write(self, attempts: Sequence[Attempt]) -> None:
        reports = [
            Report(attempt.job.seq, attempt.job.fence, *attempt.take_events())
            for attempt in attempts
            if not attempt.ended
        ]
        try:
            if reports:
                await self._store.report(reports)
        except StokerError as error:
            count = sum(len(report.events) for report in reports)
            log.error("events were lost", events=count, jobs=len(reports), error=error.message)
        finally:
            self._writing = None
            if self._unwritten:
                self._write_at(self._last + self._every)
        for attempt in attempts:
            self._audience.said(attempt.job.id)
            if attempt.event_bytes <= HUSH_AT:
                self._hear(attempt.run)
