"""Watching schedules: a look at one when a run of it has ended here, and when it is due that something happened.

Every node looks, so that what is missed is noticed although the node that should have run it is gone. What is found
follows from the store alone (:mod:`stoker.model.monitor`), and the jobs that tell of it have ids made of what they
tell: however many look, one alert is one. There is one timer, for the earliest moment at which the health of any
schedule may change by the passing of time; nothing is polled.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec
import structlog

from stoker.model import alert as alerts
from stoker.model import monitor
from stoker.model.alert import Alert, CheckIn
from stoker.model.audience import EVERYBODY, Address, NewMessage, Roles
from stoker.model.command import CommandSpec
from stoker.model.errors import RequestError, StoreError
from stoker.model.job import Claimed, Submission, Submitted
from stoker.model.monitor import Change, Health, Rules, Run
from stoker.model.request import Request, resolve
from stoker.model.schedule import Entry
from stoker.model.slot import Standing
from stoker.router.jobs.endings import Closed
from stoker.router.schedules.schedules import Schedules
from stoker.settings import Current
from stoker.store.base import Store
from stoker.wire.frames import Checked

log = structlog.get_logger(role="ticker")

DEPTH = 20
"""Newest slots of a schedule that are looked at, and those that ``failures`` asks for."""
BATCH = 250
"""Schedules that are looked at in one go, by two statements."""
AGAIN = 1.0
SLEEP_MAX = 86400.0
SOON = 0.05
"""Seconds in which endings are gathered."""
CHECK_IN_FOR = 3600.0
"""Seconds after which Sentry need not be told of a check-in any more."""
BEHIND = 0.05
"""Seconds that a look waits beyond the moment it is for."""
_TAG = "schedule:"


class Watch(NamedTuple):
    """A schedule's health at one moment. ``until`` is when it may change by itself."""

    entry: Entry
    rules: Rules
    standing: Standing | None
    runs: list[Run]
    change: Change | None
    until: float

    @property
    def health(self) -> Health:
        return Health.OK if self.change is None else self.change.health


class Monitors:
    """One per router. ``look`` notices other schedules, ``ended`` and ``begun`` hear of jobs of this node, ``stop``
    ends it. ``submit`` stores jobs, ``push`` what subscribers hear."""

    def __init__(
        self, settings: Current, store: Store, schedules: Schedules, commands: Callable[[], Mapping[str, CommandSpec]],
        submit: Callable[[list[Submission]], Awaitable[list[Submitted | Exception]]],
        push: Callable[[NewMessage], Awaitable[object]],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._schedules = schedules
        self._commands = commands
        self._submit = submit
        self._push = push
        self._entries: Mapping[str, Entry] | None = None
        self._watched: dict[str, Entry] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._due: dict[str, float] = {}
        self._numbers = itertools.count()
        self._told: dict[str, str] = {}
        self._notes: dict[str, Submission] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    # ── what others say ──────────────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Notice that there are other schedules, or other settings. Cheap; to be called from time to time."""
        entries = self._schedules.ticker.entries
        if self._stopped or entries is self._entries:
            return
        self._entries = entries
        self._watched = {entry.name: entry for entry in entries.values() if self.watches(entry)}
        now = self._store.now()
        self._heap, self._due = [], {}
        for name in self._watched:
            self._at(name, now)
        self._arm()

    def watches(self, entry: Entry) -> bool:
        """Whether somebody is told when it is not well."""
        return entry.active and (self._settings().monitors.all if entry.monitor is None else entry.monitor is not False)

    def begun(self, jobs: Iterable[Claimed]) -> None:
        """Jobs begin here."""
        if self._watched and self._settings().monitors.sentry:
            for job in jobs:
                entry = self._of(job)
                if entry is not None and job.attempt == 1:
                    self._check_in(entry, job, "in_progress", None)
            self._arm()

    def ended(self, batch: Iterable[Closed]) -> None:
        """Attempts have ended here."""
        if not self._watched:
            return
        now = self._store.now()
        for one in batch:
            job, ending = one.job, one.ending
            entry = self._of(job)
            if entry is None or not ending.state.ended:
                continue
            self._at(entry.name, now)
            if self._settings().monitors.sentry:
                status = "ok" if ending.state == "completed" else "error"
                self._check_in(entry, job, status, max(0.0, now - job.created))
        self._arm()

    def checked(self, job: Claimed, said: Checked) -> None:
        """A run here says itself how far it is. Where it names its schedule's own monitor, :meth:`begun` and
        :meth:`ended` tell of it."""
        entry = self._of(job)
        if not self._settings().monitors.sentry or (entry is not None and said.slug == self.rules(entry).slug):
            return
        slug = monitor.slug_of(said.slug)
        tag = next((tag for tag in job.tags if tag.startswith(_TAG)), f"monitor:{slug}")
        check = CheckIn(id=said.id, slug=slug, status=said.status, duration=said.seconds)
        self._note(alerts.CHECK_IN, said.id, {"check": msgspec.to_builtins(check)}, tag, said.status, CHECK_IN_FOR)
        self._arm()

    def filled(self, jobs: list[Claimed]) -> list[Claimed]:
        """Claimed jobs, those that tell somebody with whom."""
        ours = f"{alerts.PRODUCT}."
        if not any(name.startswith(ours) for name in {job.command for job in jobs}):
            return jobs
        how = msgspec.json.encode({"monitors": self._settings().monitors, "env": self._settings().schedules.env})
        return [
            self._filled(job, how) if self._is_ours(job.command) and job.command != alerts.BEAT else job for job in jobs
        ]

    def stop(self) -> None:
        """Look no more."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()

    async def stopped(self) -> None:
        """Until what was being looked at is."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def watch(self, entries: list[Entry], depth: int | None = None) -> list[Watch]:
        """The health of schedules, as it is now. Raises a StoreError."""
        lines = [self._schedules.ticker.line(entry) for entry in entries]
        rules = [self.rules(entry) for entry in entries]
        most = [depth or DEPTH + one.failures for one in rules]
        standings = await self._store.schedules.standings(lines)
        found = await self._store.schedules.runs(list(zip(lines, most, strict=True)))
        return [self._watch(*one) for one in zip(entries, rules, standings, found, most, strict=True)]

    def rules(self, entry: Entry) -> Rules:
        own = self._settings().monitors
        return monitor.rules(entry.monitor, entry.name, own.margin, own.longest, own.failures)

    def _watch(self, entry: Entry, rules: Rules, standing: Standing | None, runs: list[Run], most: int) -> Watch:
        now, delay = self._store.now(), entry.delay(self._schedules.ticker.line(entry).node)
        if standing is None or standing.paused is not None or not entry.active:
            change = monitor.judge(runs, rules, now, whole=len(runs) < most)
            return Watch(entry, rules, standing, runs, change, math.inf)
        # what was decided between the two looks is not overdue
        last = max([standing.last, *(run.slot.slot for run in runs[-1:] if run.slot.slot <= now)])
        late = monitor.overdue(entry.cron, last, delay, rules, now)
        change = monitor.judge(runs, rules, now, whole=len(runs) < most, overdue=late)
        until = monitor.look_again(runs, entry.cron, last, delay, rules, now)
        return Watch(entry, rules, standing, runs, change, until)

    async def _turn(self) -> None:
        """Look at what is due, and tell what was found."""
        while not self._stopped and self._heap and self._heap[0][0] <= self._store.now():
            names = self._taken()
            try:
                found = await self.watch([self._watched[name] for name in names])
            except StoreError:
                for name in names:
                    self._at(name, self._store.now() + AGAIN)
                raise
            for one in found:
                await self._tell(one)
        await self._send()

    def _taken(self) -> list[str]:
        names: list[str] = []
        now = self._store.now()
        while self._heap and self._heap[0][0] <= now and len(names) < BATCH:
            at, _, name = heapq.heappop(self._heap)
            if self._due.get(name) == at:
                del self._due[name]
                names.append(name)
        return names

    async def _tell(self, one: Watch) -> None:
        now, own = self._store.now(), self._settings().monitors
        again = None if one.change is None else alerts.next_reminder(one.change, now, own.remind)
        self._at(one.entry.name, min(one.until, math.inf if again is None else again) + BEHIND)
        node = self._schedules.ticker.line(one.entry).node
        told = None if one.change is None else alerts.alert(one.entry.name, node, one.change, now, own.remind)
        if told is None or self._told.get(one.entry.name) == told.id:
            return
        for command, wanted in ((alerts.WEBHOOK, own.webhook), (alerts.MAIL, own.mail_to), (alerts.SENTRY, own.sentry)):
            if wanted:
                self._note(command, told.id, {"alert": msgspec.to_builtins(told)}, _TAG + told.schedule)
        await self._say(told)
        self._told[one.entry.name] = told.id

    async def _say(self, told: Alert) -> None:
        """In the log, and to who hears events."""
        about = {"schedule": told.schedule, "health": str(told.health), "why": told.why, "job": told.job}
        (log.info if told.health is Health.OK else log.error)(f"alert: {told.title}", **about)
        data = msgspec.json.encode({"title": told.title, **msgspec.to_builtins(told)})
        try:
            await self._push(NewMessage(told.id, Roles.script, Address(EVERYBODY), alerts.EVENT, data))
            for user in self._settings().monitors.users:
                id = alerts.job_id(told.id, alerts.EVENT, user)
                await self._push(NewMessage(id, Roles.web, Address(user), alerts.EVENT, data))
        except RequestError as error:
            log.error("an alert cannot be pushed", error=error.message)

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _check_in(self, entry: Entry, job: Claimed, status: str, duration: float | None) -> None:
        rules = self.rules(entry)
        plain = len(entry.schedule.split()) != 6  # Sentry knows no seconds
        check = CheckIn(
            id=job.id, slug=rules.slug, status=status, duration=duration,
            crontab=entry.schedule if plain else None, tz=entry.tz, margin=rules.margin, longest=rules.longest,
            failures=rules.failures,
        )  # fmt: skip
        self._note(
            alerts.CHECK_IN, job.id, {"check": msgspec.to_builtins(check)}, _TAG + entry.name, status, CHECK_IN_FOR
        )

    def _note(
        self, command: str, id: str, input: dict[str, object], tag: str, part: str = "", expires: float | None = None
    ) -> None:
        spec = self._commands().get(command)
        if spec is None or not self._is_ours(command):
            return
        made = alerts.job_id(id, command, part)
        raw = msgspec.Raw(msgspec.json.encode(input))
        # one schedule's one after the other: the end of a run must not be told before its beginning
        request = Request(command=command, input=raw, id=made, tags=(tag,), key=f"{command}:{tag}", expires=expires)
        self._notes[made] = resolve(request, spec, self._store.now())

    async def _send(self) -> None:
        """Store what was noted; what the store does not take now is kept."""
        given = list(self._notes.values())
        if given:
            await self._submit(given)  # an id that is taken is an alert that is told
            for submission in given:
                self._notes.pop(submission.id, None)

    def _filled(self, job: Claimed, how: bytes) -> Claimed:
        try:
            input = {**msgspec.json.decode(job.input, type=dict[str, msgspec.Raw]), "how": msgspec.Raw(how)}
        except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
            return job
        return msgspec.structs.replace(job, input=msgspec.json.encode(input))

    def _is_ours(self, command: str) -> bool:
        spec = self._commands().get(command)
        return spec is not None and command.startswith(f"{alerts.PRODUCT}.") and not spec.callers

    def _of(self, job: Claimed) -> Entry | None:
        """The watched schedule that a job is a slot of."""
        if not any(tag.startswith("slot:") for tag in job.tags):
            return None
        names = (tag.removeprefix(_TAG) for tag in job.tags if tag.startswith(_TAG))
        return next((self._watched[name] for name in names if name in self._watched), None)

    # ── moments ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def _at(self, name: str, at: float) -> None:
        """Look at a schedule then, if not sooner."""
        if at < self._due.get(name, math.inf):
            self._due[name] = at
            heapq.heappush(self._heap, (at, next(self._numbers), name))

    def _arm(self, least: float = SOON) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._stopped or self._task is not None or not (self._heap or self._notes):
            return
        at = self._heap[0][0] - self._store.now() if self._heap else math.inf
        wait = least if self._notes else min(max(at, least), SLEEP_MAX)
        self._timer = asyncio.get_running_loop().call_later(wait, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._task = asyncio.get_running_loop().create_task(self._carry_out(), name="monitors")

    async def _carry_out(self) -> None:
        pause = SOON
        try:
            await self._turn()
        except StoreError as error:
            log.error("the store does not answer the monitors; they go on", error=error.message)
            pause = AGAIN
        except Exception:
            log.exception("the monitors met something they do not know; they go on")
            pause = AGAIN
        self._task = None
        self._arm(pause)
