"""The ticker: fires each slot of each schedule at its moment, or says why not.

    files, @product.cron ──► entries ──► heap of next moments ──► one timer, for the earliest
                                              ▲                          │
                                              └── next slot ◄── decided ◄┴─ owed: fire these, those were missed
                                                                  │
                                                  store: the slot and its job in one transaction, once for ever

All moments are the store's clock. Whoever ticks asks the store to decide, which it does once for each slot, whoever
asks: so it does no harm that several nodes tick, that one was stopped and started, or that a clock went back. Nothing
here wakes up but for a slot; that a clock was set, a file changed or a role came is noticed at the daemon's own looks.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Iterable, Mapping
from typing import Protocol

import structlog

from stoker.model.command import CommandSpec
from stoker.model.errors import RequestError, StoreError
from stoker.model.job import Claimed, Submission
from stoker.model.request import Request
from stoker.model.schedule import Entry, is_ours
from stoker.model.schedule_keys import Kind, Overlap
from stoker.model.slot import Decided, Defined, Fate, Line, Standing, Tick, shown
from stoker.schedule import firing
from stoker.schedule.owed import Gap, Owed, owed
from stoker.schedule.plan import Plan
from stoker.settings import Current
from stoker.store.base import Store

log = structlog.get_logger(role="ticker")

BATCH = 250
"""Slots that are decided in one transaction at most."""
SLEEP_MAX = 86400.0
AGAIN = 1.0
"""Seconds until what the store could not decide is tried again."""
STEP = 0.5
"""Seconds by which a clock must have been set to be worth a look at all moments."""
ROUNDING = 1e-5
"""Seconds by which sums of moments may be off."""
FORGET_EVERY = 3600.0
RUNS = "the run before has not ended"


class House(Protocol):
    """What the ticker needs of a daemon."""

    @property
    def commands(self) -> Mapping[str, CommandSpec]:
        """Every command there is."""

    def admit(self, request: Request) -> Submission:
        """Raises RequestError for what cannot be a job."""

    def stored(self, commands: set[str]) -> None:
        """Jobs of these commands are in the store."""

    def cancel(self, job: str, reason: str) -> Awaitable[object]:
        """End a job of which a newer one takes the place."""

    def holds(self, role: str) -> bool:
        """Whether this node does what is asked of a role."""


class Ticker:
    """One per daemon. ``set`` gives it its schedules, ``stop`` ends it; in between it works by itself."""

    def __init__(self, store: Store, settings: Current, house: House) -> None:
        self._store = store
        self._settings = settings
        self._house = house
        self._entries: dict[str, Entry] = {}
        self._plans: dict[str, Plan] = {}
        self._heap: list[tuple[float, int, Plan]] = []
        self._numbers = itertools.count()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._setting = asyncio.Lock()
        self._held: frozenset[str] = frozenset()
        self._step: float | None = None
        """The distance of the clocks when the moments were lined up; None while they never were."""
        self._forgot = 0.0
        self._stopped = False

    # ── what others say ──────────────────────────────────────────────────────────────────────────────────────────────

    async def set(self, entries: Iterable[Entry]) -> None:
        """Go by these schedules from now on, the first time also by those that are due at a start. Raises a StoreError,
        and then goes by those of before."""
        async with self._setting:
            found = {entry.name: entry for entry in entries}
            standings = await self._store.schedules.know(
                [Defined(self.line(entry), entry.fingerprint) for entry in found.values()]
            )
            self._entries = found
            self._plans = {
                entry.name: Plan(entry, standing.line, standing.last)
                for entry, standing in zip(found.values(), standings, strict=True)
            }
            starts, self._step = self._step is None, self._clocks()
            self._aim()
            if starts and any(entry.at_start for entry in found.values()):
                self._begin(self._start())

    def foresee(self, entries: Mapping[str, Entry]) -> None:
        """What :meth:`set` will be given: jobs of these may begin before anything is ticked."""
        self._entries = dict(entries)

    def look(self) -> None:
        """Notice that a clock was set, or that roles came or went. Cheap; to be called from time to time."""
        if self._stopped or self._step is None:
            return
        step = self._clocks()
        if abs(step - self._step) > STEP:
            log.warning("the clock was set", by=round(step - self._step, 3))
            self._again()
        elif self._held != self._roles():
            self._again()
        loop = asyncio.get_running_loop()
        if loop.time() - self._forgot > FORGET_EVERY:
            self._forgot = loop.time()
            self._begin(self._forget())

    def stop(self) -> None:
        """Tick no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def stopped(self) -> None:
        """Until what was being decided is."""
        while self._task is not None:
            await asyncio.wait([self._task])

    # ── what others ask ──────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self._entries

    def filled(self, jobs: list[Claimed]) -> list[Claimed]:
        """Claimed jobs, those of schedule files with what they are to do."""
        ours = {name for name in {job.command for job in jobs} if self._is_ours(name)}
        if not ours:
            return jobs
        now = self._settings()
        return [firing.filled(job, self._entries.get, now) if job.command in ours else job for job in jobs]

    def line(self, entry: Entry) -> Line:
        """What the store knows an entry by, on this node."""
        return Line(entry.name, self._settings().node if entry.every_node else "")

    def ticks(self, entry: Entry) -> bool:
        """Whether this node fires its slots."""
        ours = entry.active and entry.kind is not Kind.HEARTBEAT and entry.name in self._entries
        return ours and self._house.holds(entry.role)

    def submission(self, entry: Entry, slot: float | None, *, queue: bool = False) -> Submission:
        """The job for a slot, or for a run by hand. Raises RequestError."""
        if entry.kind is Kind.HEARTBEAT:
            raise RequestError(f"{entry.name!r} runs elsewhere, and says so with `stoker heartbeat`")
        spec = self._house.commands.get(entry.shown)
        return self._house.admit(
            firing.request(entry, slot, self._settings(), spec.timeout if spec else None, queue=queue)
        )

    # ── moments ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _is_ours(self, command: str) -> bool:
        spec = self._house.commands.get(command)
        return is_ours(command) and spec is not None and not spec.callers

    def _clocks(self) -> float:
        """The distance of the store's clock from one that only goes forward."""
        return self._store.now() - asyncio.get_running_loop().time()

    def _roles(self) -> frozenset[str]:
        """The roles of schedules that are this node's."""
        return frozenset(role for role in {entry.role for entry in self._entries.values()} if self._house.holds(role))

    def _aim(self) -> None:
        """Line up everything that this node ticks."""
        self._held = self._roles()
        fired = [plan for plan in self._plans.values() if plan.entry.active and plan.entry.kind is not Kind.HEARTBEAT]
        mine = [plan for plan in fired if plan.entry.role in self._held]
        self._heap = [(plan.at, next(self._numbers), plan) for plan in mine if plan.aim()]
        heapq.heapify(self._heap)
        self._arm()

    def _arm(self, least: float = 0.0) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._heap and not self._stopped and self._task is None:
            wait = min(max(self._heap[0][0] - self._store.now(), least), SLEEP_MAX)
            self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._begin(self._turn())

    def _again(self) -> None:
        """Ask the store how far all has come, and line up anew."""
        self._begin(self._refresh())

    def _begin(self, work: Awaitable[None]) -> None:
        """One thing after the other."""
        before = self._task

        async def after() -> None:
            if before is not None:
                await asyncio.wait([before])
            pause = 0.0
            try:
                await work
            except StoreError as error:
                log.error("the store does not answer the ticker; it goes on", error=error.message)
                pause = AGAIN
            except Exception:
                log.exception("the ticker met something it does not know; it goes on")
                pause = AGAIN
            if self._task is mine:
                self._task = None
                self._arm(pause)

        mine = self._task = asyncio.get_running_loop().create_task(after(), name="ticker")

    async def _refresh(self) -> None:
        entries = list(self._entries.values())
        await self.set(entries)

    async def _forget(self) -> None:
        await self._store.schedules.forget(self._settings().schedules.keep)

    # ── slots ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _start(self) -> None:
        """Fire what is due at the start of a daemon."""
        due = [plan for plan in self._plans.values() if plan.entry.at_start and self.ticks(plan.entry)]
        ticks = [(plan, self._tick(plan, plan.now(self._store.now()), queue=False)) for plan in due]
        while not self._stopped:
            try:
                await self._put(ticks)
                return
            except StoreError as error:
                log.error("the store does not answer the ticker; it goes on", error=error.message)
                await asyncio.sleep(AGAIN)

    async def _turn(self) -> None:
        """Decide what is due, in bites."""
        while self._heap and self._heap[0][0] <= self._store.now() and not self._stopped:
            due: list[Plan] = []
            while self._heap and self._heap[0][0] <= self._store.now() and len(due) < BATCH:
                due.append(heapq.heappop(self._heap)[2])
            try:
                await self._decide(due)
            finally:
                for plan in due:
                    if self._plans.get(plan.entry.name) is plan and plan.aim():
                        heapq.heappush(self._heap, (plan.at, next(self._numbers), plan))

    async def _decide(self, due: list[Plan]) -> None:
        now = self._store.now()
        found = [(plan, self._owed(plan, now)) for plan in due]
        behind = [plan for plan, owes in found if owes.gap or owes.late]
        if behind and self._store.shared:
            # others may have done meanwhile what was ours to do
            for plan, standing in zip(behind, await self._standings(behind), strict=True):
                plan.last = max(plan.last, standing.last if standing else 0.0)
            found = [(plan, self._owed(plan, now)) for plan in due]
        await self._put([(plan, tick) for plan, owes in found for tick in self._ticks(plan, owes)])

    async def _put(self, ticks: list[tuple[Plan, Tick]]) -> None:
        for start in range(0, len(ticks), BATCH):
            part = ticks[start : start + BATCH]
            answers = await self._store.schedules.decide([tick for _, tick in part], self._settings().node)
            await self._heard(part, answers)

    async def _standings(self, plans: list[Plan]) -> list[Standing | None]:
        return await self._store.schedules.standings([plan.line for plan in plans])

    def _owed(self, plan: Plan, now: float) -> Owed:
        grace = self._settings().schedules.grace
        return owed(plan.entry.cron, plan.last, now - plan.delay + ROUNDING, grace, plan.entry.catch_up)

    def _ticks(self, plan: Plan, owes: Owed) -> Iterable[Tick]:
        if owes.gap is not None:
            yield self._missed(plan, owes.gap)
        for slot in owes.fire:
            yield self._tick(plan, slot, queue=owes.late > 0 and len(owes.fire) > 1)

    def _missed(self, plan: Plan, gap: Gap) -> Tick:
        reason = "nobody was there to fire it in time"
        log.warning("slots were missed", schedule=plan.entry.name, count=gap.slots, last=shown(gap.last))
        return Tick(
            line=plan.line, slot=gap.last, fate=Fate.MISSED, reason=reason, first=gap.first, count=gap.slots
        )  # fmt: skip

    def _tick(self, plan: Plan, slot: float, *, queue: bool) -> Tick:
        try:
            submission = self.submission(plan.entry, slot, queue=queue)
        except RequestError as error:
            return Tick(line=plan.line, slot=slot, fate=Fate.REFUSED, reason=error.message)
        # what is caught up is bounded by how much of it is
        bounded = plan.entry.overlap is Overlap.QUEUE and not queue
        return Tick(
            line=plan.line, slot=slot, submission=submission, waiting=plan.entry.waiting if bounded else None
        )  # fmt: skip

    async def _heard(self, part: list[tuple[Plan, Tick]], answers: list[Decided]) -> None:
        stored: set[str] = set()
        skipped: dict[tuple[str, str], list[float]] = {}
        replaced: list[tuple[str, str]] = []
        for (plan, tick), answer in zip(part, answers, strict=True):
            plan.last = max(plan.last, tick.slot)
            if answer.fate is Fate.FIRED and tick.submission is not None:
                stored.add(tick.submission.command)
                if plan.entry.overlap is Overlap.REPLACE and answer.before is not None:
                    replaced.append((answer.before, plan.entry.name))
            if answer.fate is Fate.SKIPPED:
                skipped.setdefault((plan.entry.name, answer.reason or RUNS), []).append(tick.slot)
            _say(plan, tick, answer)
        for (name, reason), slots in skipped.items():
            log.info(f"skipped: {reason}", schedule=name, slots=len(slots), last=shown(slots[-1]))
        if stored:
            self._house.stored(stored)
        for job, name in replaced:
            try:
                await self._house.cancel(job, f"a newer run of {name} takes its place")
            except RequestError:
                continue  # it is kept no longer


def _say(plan: Plan, tick: Tick, answer: Decided) -> None:
    about = {"schedule": plan.entry.name, "slot": shown(tick.slot)}
    match answer.fate:
        case Fate.FIRED:
            log.debug("fired", **about, job=answer.job)
        case Fate.REFUSED:
            log.error("refused", **about, reason=answer.reason or tick.reason)
        case Fate.PAUSED:
            log.debug("passed: the schedule is paused", **about)
