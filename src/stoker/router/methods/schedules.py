"""What clients may ask about schedules: list them, explain them, run one now, pause them, and what became of slots."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from stoker.model.errors import RequestError, UnknownJob
from stoker.model.job import Job, Submitted
from stoker.model.schedule import Entry
from stoker.model.schedule_keys import Kind, Overlap
from stoker.model.slot import Standing
from stoker.router.house import House
from stoker.router.methods.moments import read_moment
from stoker.wire.records import iso
from stoker.wire.schedules import ScheduleRecord, SchedulesRecord, SlotRecord, schedule_record, slot_record

MANY = 1000
PROBLEMS = 50


class OneSchedule(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Listed(msgspec.Struct, forbid_unknown_fields=True):
    contains: str = ""
    limit: int = MANY


class Coming(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    count: int = 5


class Slots(msgspec.Struct, forbid_unknown_fields=True):
    name: str | None = None
    before: str | None = None
    limit: int = 20


async def schedules(house: House, _role: str, params: Listed) -> SchedulesRecord:
    """Every schedule whose name contains a text, with its next moment and what became of the last one."""
    ours = house.schedules
    settings = house.settings().schedules
    words = params.contains.lower()
    known = {**ours.book.entries, **ours.ticker.entries}
    chosen = [entry for entry in known.values() if words in entry.name.lower()][: max(1, min(params.limit, 10 * MANY))]
    found = await _records(house, chosen)
    problems = [str(problem) for problem in ours.problems[:PROBLEMS]]
    return SchedulesRecord(env=settings.env, by=settings.by, problems=problems, schedules=found)


async def schedule_next(house: House, _role: str, params: Coming) -> list[str]:
    """The next moments of a schedule."""
    entry, at = house.schedules.entry(params.name), house.store.now()
    found: list[str] = []
    while len(found) < max(1, min(params.count, MANY)) and (coming := entry.cron.next(at)) is not None:
        found.append(iso(coming) or "")
        at = coming
    return found


async def schedule_why(house: House, _role: str, params: OneSchedule) -> list[str]:
    """Why a schedule runs or does not, one sentence for each thing to know."""
    entry = house.schedules.entry(params.name)
    (standing,) = await house.store.schedules.standings([house.schedules.ticker.line(entry)])
    newest = await house.store.schedules.slots(entry.name, None, 1)
    found = [*await _obstacles(house, entry, standing), *await _overlap(house, entry, standing)]
    record = schedule_record(entry, house.store.now(), standing=standing)
    if record.next is not None:
        found.append(f"next at {record.next}, by {entry.schedule!r} in {entry.tz}")
    if entry.at_start:
        found.append("it is due at each start of a daemon that ticks it")
    for slot in newest:
        reason = f": {slot.reason}" if slot.reason else ""
        found.append(f"the slot {iso(slot.slot)} was {slot.fate} by {slot.decider}{reason}")
    return found


async def schedule_run(house: House, _role: str, params: OneSchedule) -> Submitted:
    """Run a schedule now, beside its slots; if it runs already and does not overlap, the answer is that job."""
    submission = house.schedules.ticker.submission(house.schedules.entry(params.name), None)
    (answer,) = await house.store.submit([submission])
    if isinstance(answer, Exception):
        raise answer
    house.claimer.wake({submission.command})
    return answer


async def schedule_pause(house: House, _role: str, params: OneSchedule) -> ScheduleRecord:
    """Let the slots of a schedule pass without a job, on all nodes."""
    entry = house.schedules.entry(params.name)
    if not await house.store.schedules.pause(entry.name):
        raise RequestError(f"{entry.name!r} was never ticked by a daemon, so there is nothing to pause")
    return (await _records(house, [entry]))[0]


async def schedule_resume(house: House, _role: str, params: OneSchedule) -> ScheduleRecord:
    """Fire again; what passed meanwhile is not caught up."""
    entry = house.schedules.entry(params.name)
    await house.store.schedules.resume(entry.name)
    return (await _records(house, [entry]))[0]


async def schedule_slots(house: House, _role: str, params: Slots) -> list[SlotRecord]:
    """What became of the newest slots, and of their jobs: of one schedule, or of all."""
    before = None if params.before is None else read_moment("before", params.before)
    slots = await house.store.schedules.slots(params.name, before, max(1, min(params.limit, MANY)))
    return [slot_record(slot, await _job(house, slot.job)) for slot in slots]


async def _job(house: House, id: str | None) -> Job | None:
    if id is None:
        return None
    try:
        return await house.store.get(id)
    except UnknownJob:
        return None


async def _records(house: House, chosen: Sequence[Entry]) -> list[ScheduleRecord]:
    ticker, now = house.schedules.ticker, house.store.now()
    lines = [ticker.line(entry) for entry in chosen]
    standings = await house.store.schedules.standings(lines)
    newest = await house.store.schedules.runs([(line, 1) for line in lines])
    return [
        schedule_record(
            entry, now, here=ticker.ticks(entry), standing=standing, newest=runs[0].slot if runs else None
        )
        for entry, standing, runs in zip(chosen, standings, newest, strict=True)
    ]  # fmt: skip


async def _obstacles(house: House, entry: Entry, standing: Standing | None) -> list[str]:
    """What keeps it from being fired, here or anywhere."""
    found = []
    if not entry.active:
        found.append(f"it is off: active is 0 at {entry.where}")
    if entry.name not in house.schedules.ticker.entries:
        found.append("the system's cron runs it, not the daemon: schedules.by is crontab")
    if standing is not None and standing.paused is not None:
        found.append(f"it is paused since {iso(standing.paused)}; `stoker schedule resume` ends that")
    if not house.roles.holds(entry.role):
        found.append(f"another node ticks it: it {await house.roles.whereabouts(entry.role)}")
    if entry.kind is Kind.JOB and entry.shown not in house.pool.commands:
        found.append(f"no application registers {entry.shown}, so each slot is refused")
    if house.claimer.is_paused(entry.shown if entry.kind is Kind.JOB else "cron.script"):
        found.append("its jobs wait: their command or product is paused")
    return found


async def _overlap(house: House, entry: Entry, standing: Standing | None) -> list[str]:
    last = await _job(house, standing.job) if standing else None
    if last is None:
        return []
    if last.state.ended:
        return [f"its last job {last.id} is {last.state}" + (f": {last.fault}" if last.fault else "")]
    meanwhile = {
        Overlap.SKIP: "slots are skipped until it has ended",
        Overlap.QUEUE: f"the next ones wait for it, {entry.waiting} at most",
        Overlap.REPLACE: "the next slot cancels it",
    }
    return [f"its job {last.id} is {last.state}; {meanwhile[entry.overlap]}"]
