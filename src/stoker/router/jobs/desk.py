"""Where attempts are opened, heard and closed: the last three steps of a job's way, run, report and settle.

    claimed job ──► begin ──► frames from its process ──► outcome ──► after() ──► store, guarded by the fence
                                 │                                                  │
                                 └── events, kept until the next report ────────────┴──► whoever watches the job

Reports are gathered and written together (:mod:`stoker.router.jobs.reports`); the end of an attempt takes with it what
was not yet reported, in the same group commit, so a job is never seen ended without all it said.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from stoker.model import settle
from stoker.model.clock import Clock
from stoker.model.command import CommandSpec
from stoker.model.event import EventKind, NewEvent
from stoker.model.job import Claimed, Job, Progress
from stoker.model.outcome import Blame, Cancelled, Done, Failed, Fault, Lost, Outcome, Returned, Snoozed
from stoker.model.product import unknown
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.jobs.audience import Audience
from stoker.router.jobs.endings import Closed, Endings
from stoker.router.jobs.reports import Reports
from stoker.router.jobs.trust import Trust
from stoker.router.pools.pool import Pool
from stoker.router.stats.tally import Tally
from stoker.settings import Current
from stoker.store.base import Held, Report, Store
from stoker.wire.frames import Ask, Checked, Ended, Progressed, Said

log = structlog.get_logger(role="consumer")


class Desk:
    """All attempts of this daemon."""

    def __init__(
        self, store: Store, settings: Current, clock: Clock, audience: Audience, tally: Tally,
        on_ask: Callable[[Attempt, Ask], None], on_room: Callable[[], None],
        on_written: Callable[[list[Closed]], None],
    ) -> None:  # fmt: skip
        self._store = store
        self._settings = settings
        self._clock = clock
        self._tally = tally
        self._on_ask = on_ask
        self._reports = Reports(store, audience)
        self._endings = Endings(store, audience, on_room, on_written)
        self._log = log.bind()
        self._numbers = itertools.count(1)
        self._attempts: dict[int, Attempt] = {}
        self._by_job: dict[str, Attempt] = {}
        self._doubt: asyncio.TimerHandle | None = None
        self._doubt_at = math.inf
        """When the first trust runs out, unless it is renewed."""
        self.pool: Pool | None = None
        self.gate: Callable[[Claimed, CommandSpec], int | Outcome] = lambda _job, _spec: 0
        """Whether a job that asks for a role, or a hook, may begin: the term of its role, or what becomes of it."""
        self.on_checked: Callable[[Claimed, Checked], None] = lambda _job, _frame: None
        """A job checks in or out of a monitor."""

    @property
    def busy(self) -> bool:
        """Whether anything runs here or is being written."""
        return bool(self._attempts or self._reports.busy or self._endings.busy)

    @property
    def attempts(self) -> list[Attempt]:
        return list(self._attempts.values())

    def pid(self, job: Job) -> int | None:
        """The process of a job that runs here."""
        attempt = self._by_job.get(job.id)
        return None if attempt is None or attempt.place is None else attempt.place.pid

    def holds(self, job: Claimed) -> bool:
        """Whether this very attempt runs here, or its end is being written; its lease may have run out meanwhile (the
        machine slept), and still nobody may take it for lost."""
        attempt = self._by_job.get(job.id)
        if attempt is not None and attempt.job.fence == job.fence:
            return True
        return self._endings.holds(job)

    @property
    def held(self) -> list[Held]:
        """Every attempt that runs here or whose end is being written: what the lease is renewed for."""
        running = [Held(attempt.job.seq, attempt.job.fence) for attempt in self._attempts.values()]
        return [*running, *self._endings.held]

    def renewed(self, answers: Mapping[Held, bool], trust: Trust) -> None:
        """Leases were renewed, but for those that are not ours any more: those are ended."""
        for attempt in self.attempts:
            ours = answers.get(Held(attempt.job.seq, attempt.job.fence))
            if ours:
                attempt.ours_until = trust.until
            elif ours is False:
                self._disown(attempt, "another node has the job by now")
        self._doubt_in_time()

    def _doubt_in_time(self) -> None:
        """Look again when the first trust runs out. Where nobody shares the store, there is nobody to doubt."""
        if not self._store.shared:
            return
        doubted = (attempt.ours_until for attempt in self._attempts.values() if not attempt.disowned)
        first = min(doubted, default=math.inf)
        if math.isinf(first) or (self._doubt is not None and first >= self._doubt_at):
            return
        if self._doubt is not None:
            self._doubt.cancel()
        self._doubt_at = first
        pause = max(0.0, first - self._clock.mono())
        self._doubt = asyncio.get_running_loop().call_later(pause, self._distrust)

    def _distrust(self) -> None:
        self._doubt = None
        now = self._clock.mono()
        for attempt in self.attempts:
            if attempt.ours_until <= now:
                self._disown(attempt, "its lease could not be renewed in time, and another node may start it")
        self._doubt_in_time()

    def disown(self, role: str, why: str) -> None:
        """End whatever runs here for a role."""
        for attempt in self.attempts:
            if attempt.spec.role == role:
                self._disown(attempt, why)

    def _disown(self, attempt: Attempt, why: str) -> None:
        """End an attempt at once; what it has come to is written only if nobody else took the job. Until its process is
        dead there may be more reasons to: once is enough."""
        if attempt.disowned:
            return
        attempt.disowned = True
        log.warning(f"Command stopped: {why}", command=attempt.job.command, job=attempt.job.id)
        lost = Lost(Fault("LeaseLost", why), Blame.HOUSE)
        attempt.returned(lost)
        assert self.pool is not None
        if self.pool.withdraw(attempt):
            self.end([(attempt, lost)])

    def begin(self, jobs: Sequence[Claimed], trust: Trust) -> None:
        """Jobs were claimed: give them to the pool. Not, if the answer was so long on its way that another node may
        have them."""
        assert self.pool is not None
        if self._store.shared and trust.left <= 0:
            self.decline(jobs, "its claim was answered too late")
            return
        settings, born, commands = self._settings(), self._clock.mono(), self.pool.commands
        started = []
        for job in jobs:
            spec = commands.get(job.command)
            if spec is None:
                fault = Fault("UnknownCommand", unknown(job.command, commands))
                self._settle([(job, Failed(fault), None)])
                continue
            allowed = self.gate(job, spec) if spec.role or spec.hook else 0
            if not isinstance(allowed, int):
                self._settle([(job, allowed, None)])
                continue
            attempt = Attempt(
                next(self._numbers), job, spec, memory=settings.memory or None, max_output=settings.max_output,
                born=born, on_said=self._reports.soon,
            )  # fmt: skip
            attempt.ours_until = trust.until
            attempt.role_term = allowed or None
            self._attempts[attempt.run] = attempt
            self._by_job[job.id] = attempt
            started.append(attempt)
        self._doubt_in_time()
        self.pool.start(started)
        # after they were sent off: a line in the log takes as long as all the rest
        if self._log.is_enabled_for(logging.INFO):
            for job in (attempt.job for attempt in started):
                self._log.info(f"Processing command {job.command}", job=job.id, attempt=job.attempt)

    def decline(self, jobs: Sequence[Claimed], why: str) -> None:
        """Jobs were claimed that must not begin here: give them back, with no attempt counted."""
        self._settle([(job, Returned(why, begun=False), None) for job in jobs])

    def frames(self, frames: Sequence[Any]) -> None:
        """What processes of jobs say."""
        ends = []
        for frame in frames:
            attempt = self._attempts.get(frame.run)
            if attempt is None:
                continue
            match frame:
                case Ended():
                    attempt.started, attempt.seconds = frame.started, frame.seconds
                    ends.append((attempt, frame.outcome))
                case Said():
                    attempt.say(EventKind(frame.kind), frame.at, frame.data)
                case Progressed():
                    attempt.progress = Progress(frame.percent, frame.message, frame.step)
                    attempt.say(EventKind.PROGRESS, self._clock.wall(), msgspec.json.encode(attempt.progress))
                case Checked():
                    self.on_checked(attempt.job, frame)
                case Ask():
                    self._on_ask(attempt, frame)
        if ends:
            self.end(ends)

    def end(self, ends: Sequence[End]) -> None:
        """Attempts have ended, whoever says so; only the first word about each counts."""
        assert self.pool is not None
        ends = [end for end in ends if end[0].finish()]
        if not ends:
            return
        self.pool.ended(ends)
        now = self._clock.mono()
        for attempt, _ in ends:
            del self._attempts[attempt.run]
            if self._by_job.get(attempt.job.id) is attempt:
                del self._by_job[attempt.job.id]
            self._reports.leave(attempt)
        self._tally.ended(ends, now)
        self._settle([(attempt.job, outcome, attempt) for attempt, outcome in ends])

    def cancel(self, job: str, reason: str) -> None:
        """Somebody wants a job to stop that may be running here."""
        attempt = self._by_job.get(job)
        if attempt is None:
            return
        assert self.pool is not None
        attempt.cancelled(reason, self._settings().kill_grace)
        if self.pool.withdraw(attempt):
            self.end([(attempt, Cancelled(reason))])

    def give_back(self) -> None:
        """The daemon leaves now: what still runs is killed and waits for the next one, with no attempt counted."""
        assert self.pool is not None
        for attempt in self.attempts:
            # never started twice: what has begun of it cannot be given back
            lost = Lost(Fault("Lost", "the daemon stopped while it ran"), Blame.HOUSE)
            attempt.returned(lost if attempt.spec.once else Returned())
            if self.pool.withdraw(attempt):
                self.end([(attempt, Returned(begun=False))])

    def mend(self, job: Claimed, outcome: Outcome) -> None:
        """Settle an attempt that was found abandoned; its fence decides whether it still is."""
        self._settle([(job, outcome, None)])

    async def settled(self) -> None:
        """Wait until every ending so far is written."""
        await self._endings.written()

    def _settle(self, ends: Sequence[tuple[Claimed, Outcome, Attempt | None]]) -> None:
        assert self.pool is not None
        now, commands = self._store.now(), self.pool.commands
        told = self._log.is_enabled_for(logging.INFO)
        closed = []
        for job, outcome, attempt in ends:
            cancel = attempt.cancel if attempt is not None else None
            spec = commands.get(job.command)
            ending = settle.after(job, outcome, spec, now=now, chance=random.random(), cancel=cancel)
            events, progress = attempt.take_events() if attempt is not None else ((), None)
            if ending.again:
                events = (*events, _again(now, job, outcome, ending))
            report = Report(job.seq, job.fence, events, progress) if events or progress else None
            closed.append(Closed(job, ending, report))
            if told or not isinstance(outcome, Done):
                self._tell(job, outcome, ending)
        self._endings.put(closed)

    def _tell(self, job: Claimed, outcome: Outcome, ending: settle.Ending) -> None:
        """The job's line in the log; the wording is that of the O rows."""
        match outcome:
            case Done():
                self._log.info("Command completed successfully", command=job.command, job=job.id)
            case Snoozed() | Returned():
                self._log.info("Command put off", command=job.command, job=job.id, outcome=type(outcome).__name__)
            case _:
                log.warning(
                    f"Command failed: {ending.fault}", command=job.command, job=job.id, attempt=job.attempt,
                    state=str(ending.state),
                )  # fmt: skip


def _again(now: float, job: Claimed, outcome: Outcome, ending: settle.Ending) -> NewEvent:
    """The trace that an attempt leaves when the job goes on."""
    data = {
        "attempt": job.attempt,
        "outcome": type(outcome).__name__.lower(),
        "error": None if ending.fault is None else str(ending.fault),
        "next": ending.run_at,
    }
    return NewEvent(EventKind.ATTEMPT, now, msgspec.json.encode(data))
