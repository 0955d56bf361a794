"""The workers of one pool: how many there are, who gets the next job, and what happens when they die.

workers ──────────────── kept alive, all of them from the start
  │  a job waited longer than grow_after, and all are busy
  ▼
max_workers ──────────── those beyond go again when they were idle for shrink_after

dies with jobs done      replaced at once
dies at its start        replaced later and later (:class:`Deaths`)
is worn (jobs, age, memory)   gets no new jobs; its successor is there before it goes
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import structlog

from stoker.model.outcome import Outcome, Returned
from stoker.model.pool import PoolSpec
from stoker.model.quantities import show_seconds
from stoker.router.jobs.attempt import Attempt, End
from stoker.router.pools.deal import deal, least_busy
from stoker.router.pools.deaths import BROKEN_AGAIN, Deaths
from stoker.router.pools.resident import NOT_BEGUN, Resident
from stoker.router.pools.timers import Timers
from stoker.run import process
from stoker.wire.frames import DIRECT

log = structlog.get_logger(role="pool")

NOBODY = Returned("its workers are gone", begun=False)
STUCK_GRACES = 4
"""A worker that does not begin a job for so many times ``kill_grace`` is killed."""
YOUNG = 1.0
"""Seconds of life within which an idle worker's death counts as one of its start."""


class Residents:
    """One pool. ``make`` forks a worker, or gives None while nothing can be forked; ``on_lost`` gets the attempts whose
    worker died, ``on_room`` is called when more could start than before."""

    def __init__(
        self, spec: PoolSpec, slots: int, kill_grace: Callable[[], float],
        make: Callable[[Residents, int], Resident | None],
        on_lost: Callable[[Attempt, Outcome], None], on_room: Callable[[], None],
    ) -> None:  # fmt: skip
        self.spec = spec
        self.slots = slots
        self._kill_grace = kill_grace
        self._make = make
        self._on_lost = on_lost
        self._on_room = on_room
        self._loop = asyncio.get_running_loop()
        self._timers = Timers()
        self._suspects: set[str] = set()
        self._deaths = Deaths()
        self._failed = False
        """Whether a worker was lost before it took jobs."""
        self.workers: list[Resident] = []
        self.waiting: deque[Attempt] = deque()
        self.closed = False
        self.replaced = 0
        self.first: Callable[[str], None] = lambda product: None
        """Called before jobs that wait get what is free."""
        self.on_tried: Callable[[], None] = lambda: None
        """Called when :attr:`tried` may have become true."""

    # ── what it can take ─────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def name(self) -> str:
        return self.spec.product or f"of all products ({self.spec.isolation})"

    @property
    def room(self) -> int:
        """How many more jobs could be claimed for it: for free slots, and one worker's worth that may wait for a worker
        to be made, since only who waits shows that one is needed."""
        if not self.spec.enabled or self.closed:
            return 0
        free = sum(worker.room for worker in self.workers)
        if len(self._fresh) < self.spec.most and self._deaths.left is None:
            free += self.slots
        return max(0, free - len(self.waiting))

    @property
    def live(self) -> list[Resident]:
        """Workers that are there and take jobs."""
        return [worker for worker in self.workers if worker.takes and not worker.single]

    @property
    def _fresh(self) -> list[Resident]:
        """Workers that are not on their way out."""
        return [worker for worker in self.workers if not (worker.outgoing or worker.single or worker.released)]

    @property
    def tried(self) -> bool:
        """Whether it has come to something: a worker that takes jobs, or none that is still starting."""
        return any(worker.takes for worker in self.workers) or self._failed or not self.workers

    def least_busy(self) -> Resident | None:
        """The worker that would get the next job; None where none has room."""
        return least_busy(self.live)

    @property
    def broken(self) -> str | None:
        """What is wrong, when no workers are made any more."""
        return self._deaths.problem if self._deaths.broken else None

    def why(self) -> str | None:
        """Why it takes nothing, if that is not because all are busy."""
        if not self.spec.enabled:
            return f"the product {self.spec.product} is disabled; `stoker pools set {self.spec.product} enabled=true`"
        if self.live:
            return None
        if (told := self._deaths.told(self.name)) is not None or not self.workers:
            return told
        so_far = self._loop.time() - min(worker.born_at for worker in self.workers)
        before = f"; the last one died: {self._deaths.problem}" if self._deaths.count else ""
        return f"the workers of {self.name} are starting, for {show_seconds(so_far)} so far{before}"

    def silence(self) -> str | None:
        """Which of its workers does not answer, if one does not."""
        return next((told for worker in self.workers if (told := worker.silence()) is not None), None)

    # ── jobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self, attempts: Sequence[Attempt]) -> None:
        """Run them on the least busy workers, or on the next that have room."""
        for attempt in attempts:
            if self.closed:
                self._on_lost(attempt, NOBODY)
            elif attempt.job.id in self._suspects and (single := self._fork(1)) is not None:
                self._suspects.remove(attempt.job.id)
                single.single = True
                single.assign([attempt], self._kill_grace())
            else:
                self.waiting.append(attempt)
        self._match()

    def ended(self, worker: Resident, ends: Sequence[End]) -> None:
        """Jobs ended, or were given back; their slots are free."""
        done = worker.done
        worker.took(ends, self._kill_grace())
        if self._deaths.count and worker.done > done:
            self._recovered()
        if not worker.load:
            self._rest(worker)
        self._match()

    def _match(self) -> None:
        self.first(self.spec.product)
        if self.waiting:
            for worker, attempts in deal(self.waiting, self.workers):
                self.give(worker, attempts)
        if self.waiting and len(self._fresh) < self.spec.most and self._deaths.left is None:
            if self._fresh:
                self._timers.once("grow", self.spec.grow_after, self._grow)
            else:
                self._fork(self.slots)

    def give(self, worker: Resident, attempts: Sequence[Attempt]) -> None:
        """Run them on this worker, which has room for them."""
        worker.assign(attempts, self._kill_grace())
        if worker.worn:
            self._replace(worker)

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def keep(self, least: int = 0) -> None:
        """Have as many workers as there shall be, and ``least`` of them if there may be."""
        wanted = min(max(least, self.spec.workers), self.spec.most)
        while len(self._fresh) < wanted and self._deaths.left is None and not self.closed:
            if self._fork(self.slots) is None:
                return

    def resume(self) -> None:
        """Workers can be made again."""
        self.keep()
        self._match()

    def reshape(self, spec: PoolSpec, slots: int) -> None:
        """Other limits from now on."""
        self.spec, self.slots = spec, slots
        for worker in self._fresh:
            worker.limit = spec.recycle_jobs
            if not spec.enabled or worker.slots != slots:
                self._replace(worker, now=True)
            elif worker.worn:
                self._replace(worker)
        while self.waiting and not spec.enabled:
            self._on_lost(self.waiting.popleft(), Returned("its product is disabled", begun=False))
        extra = len(self._fresh) - spec.most
        for worker in sorted(self._fresh, key=lambda worker: worker.load)[: max(0, extra)]:
            self._replace(worker, now=True)
        self.keep()
        self._match()
        self._on_room()

    def close(self) -> deque[Attempt]:
        """Let the workers end what they have; the jobs that none of them has got."""
        self.closed = True
        self._timers.close()
        for worker in self.workers:
            if not worker.load:
                worker.release()
        waiting, self.waiting = self.waiting, deque()
        return waiting

    def is_ready(self, worker: Resident) -> None:
        """A worker takes jobs, or will end because it cannot."""
        if worker.problem is not None:
            self._deaths.problem = worker.problem
            self._failed = True
            log.error("a worker cannot start", pool=self.name, pid=worker.pid, problem=worker.problem)
            self.on_tried()
            return
        if self.closed or worker.zygote.retiring:
            worker.release()
            return
        for other in list(self.workers):
            if not other.load:
                self._rest(other)
        self.on_tried()
        self._match()
        self._on_room()

    def died(self, worker: Resident, found: Outcome, how: str, *, counts: bool = True) -> None:
        """A worker is gone. ``counts`` is False when it did not die by itself."""
        self.workers.remove(worker)
        fates = worker.fates(worker.died(), found)
        self._failed = self._failed or not worker.ready
        if not worker.alone and all(fate is found for _, fate in fates):
            # one of them may be what kills a resident: each has its next attempt by itself, so that it tells
            self._suspects.update(attempt.job.id for attempt, _ in fates if attempt.run < DIRECT)
        if counts and not worker.released and not worker.single:
            self.replaced += 1
            over_a_job = any(fate is not NOT_BEGUN for _, fate in fates)
            self._count(worker, over_a_job, worker.problem or worker.ending(how))
        for attempt, fate in fates:
            self._on_lost(attempt, fate)
        self.on_tried()
        if self.closed or worker.zygote.retiring:
            return
        self.keep()
        self._match()
        self._on_room()

    def weigh(self) -> None:
        """Replace the workers that have grown past their memory, and those that do not begin what they were given."""
        for worker in [one for one in self.workers if one.is_stuck(STUCK_GRACES * self._kill_grace())]:
            log.warning("a worker does not answer and is killed", pool=self.name, pid=worker.pid)
            worker.kill(9)
        bound = self.spec.recycle_memory
        for worker in self._fresh if bound is not None else ():
            if worker.pid is not None and bound is not None and process.tree_rss(worker.pid) > bound:
                log.info("a worker has grown and is replaced", pool=self.name, pid=worker.pid)
                self._replace(worker, now=True)

    def _count(self, worker: Resident, over_a_job: bool, how: str) -> None:
        """A worker died by itself: when none of them lives to take a job, wait longer each time, and in the end say so.
        One that died over a job is that job's affair, which has its own limit; others need not wait for it."""
        log.warning("a worker died", pool=self.name, pid=worker.pid, how=how, done=worker.done)
        if over_a_job or worker.done or (worker.ready and self._loop.time() - worker.born_at >= YOUNG):
            return
        pause = self._deaths.add(how)
        if self._deaths.broken:
            log.error("the pool is broken", pool=self.name, problem=how, deaths=self._deaths.count, again=BROKEN_AGAIN)
            while self.waiting and not self.live:
                self._on_lost(self.waiting.popleft(), Returned("its pool is broken", begun=False))
        if pause:
            self._timers.once("again", pause, self._try_again)

    def _recovered(self) -> None:
        """A job is done: whatever was wrong is not any more."""
        self._deaths.forget()
        self._timers.cancel("again")
        self.keep()

    def _try_again(self) -> None:
        self._deaths.over()
        if self._deaths.broken and not self._fresh and self.spec.most:
            self._fork(self.slots)  # one, to see
            self._timers.once("again", self._deaths.pause(BROKEN_AGAIN), self._try_again)
            return
        self.keep()
        self._match()
        self._on_room()

    def _grow(self) -> None:
        """Somebody waited too long."""
        if self.waiting and len(self._fresh) < self.spec.most and self._deaths.left is None:
            log.info("jobs wait; one more worker", pool=self.name, workers=len(self._fresh) + 1)
            self._fork(self.slots)
            self._timers.once("grow", self.spec.grow_after, self._grow)

    def _fork(self, slots: int) -> Resident | None:
        worker = self._make(self, slots)
        if worker is None:
            return None
        worker.limit = self.spec.recycle_jobs
        worker.ahead = self.spec.ahead
        self.workers.append(worker)
        if self.spec.recycle_age is not None:
            self._loop.call_later(self.spec.recycle_age, self._aged, worker)
        if self.spec.start_timeout:
            self._loop.call_later(self.spec.start_timeout, self._overdue, worker, self.spec.start_timeout)
        return worker

    def _overdue(self, worker: Resident, seconds: float) -> None:
        """Its start hook hangs: that is a death of its start."""
        if worker.ready or worker.dead or worker.released or worker.problem is not None:
            return
        worker.problem = f"not ready within {show_seconds(seconds)} (start_timeout){worker.words}"
        worker.kill(9)

    def _aged(self, worker: Resident) -> None:
        if not (worker.dead or worker.released or self.closed):
            self._replace(worker, now=True)

    def _replace(self, worker: Resident, *, now: bool = False) -> None:
        """Have a successor made; ``now``: it gets no new jobs from here on."""
        worker.outgoing = True
        worker.on_leaving()
        if now:
            worker.limit = worker.taken
        self.keep()
        if not worker.load:
            self._rest(worker)

    def _rest(self, worker: Resident) -> None:
        """An idle worker: let it go if it is not needed any more."""
        used_up = worker.outgoing and worker.limit is not None and worker.taken >= worker.limit
        succeeded = not self.spec.enabled or all(other.ready for other in self._fresh)
        if self.closed or worker.single or worker.zygote.retiring or (used_up and succeeded):
            worker.release()
        elif len(self._fresh) > self.spec.workers:
            self._timers.once("shrink", self.spec.shrink_after, self._shrink)

    def _shrink(self) -> None:
        idle = [worker for worker in self._fresh if worker.ready and not worker.load]
        for worker in sorted(idle, key=lambda worker: worker.idle_since):
            rested = self._loop.time() - worker.idle_since
            if len(self._fresh) <= self.spec.workers:
                return
            if rested < self.spec.shrink_after:
                self._timers.once("shrink", self.spec.shrink_after - rested, self._shrink)
                return
            worker.release()
