"""What clients may ask about monitors: whether schedules are well, the calendar of their runs; and heartbeats that come
in."""

from __future__ import annotations

import msgspec

from stoker.model import alert as alerts
from stoker.model import monitor
from stoker.model.errors import RequestError
from stoker.model.job import Submission, Submitted
from stoker.model.request import Request, resolve
from stoker.model.schedule import Entry
from stoker.model.schedule_keys import Kind
from stoker.model.slot import Fate, Tick, shown
from stoker.router.house import House
from stoker.router.methods.moments import read_moment
from stoker.router.schedules.monitors import BATCH, Watch
from stoker.schedule.owed import owed
from stoker.wire.monitors import CalendarRecord, MonitorRecord
from stoker.wire.records import iso

DAY = 86400.0
SPAN_MAX = 400 * DAY
MOST = 10_000
"""Slots of a calendar at most, and decided ones of each schedule that are looked through."""
EARLY = 60.0
"""Seconds that the clock of a foreign machine may be ahead of ours."""


class Watched(msgspec.Struct, forbid_unknown_fields=True):
    contains: str = ""


class Span(msgspec.Struct, forbid_unknown_fields=True, rename={"from_": "from"}):
    schedule: str | None = None
    from_: str | None = None
    to: str | None = None
    limit: int = 1000


class Heartbeat(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    status: str = "ok"
    message: str = ""


async def monitors(house: House, _role: str, params: Watched) -> list[MonitorRecord]:
    """The health of every schedule whose name contains a text."""
    chosen = [one for one in house.schedules.ticker.entries.values() if params.contains.lower() in one.name.lower()]
    found: list[Watch] = []
    for start in range(0, len(chosen), BATCH):
        found += await house.monitors.watch(chosen[start : start + BATCH])
    return [_record(house, one) for one in found]


async def calendar(house: House, _role: str, params: Span) -> list[CalendarRecord]:
    """What became of the slots between two moments, and which are to come; by default the day around now."""
    now = house.store.now()
    start = now - DAY if params.from_ is None else read_moment("from", params.from_)
    end = max(start, now) + DAY if params.to is None else read_moment("to", params.to)
    if not 0 <= end - start <= SPAN_MAX:
        raise RequestError("from lies before to, and by 400 days at most")
    known = house.schedules.ticker.entries
    chosen = list(known.values()) if params.schedule is None else [house.schedules.entry(params.schedule)]
    most = max(1, min(params.limit, MOST))
    found: list[tuple[float, CalendarRecord]] = []
    for entry in chosen:
        found += await _of_one(house, entry, now, start, end, most)
    found.sort(key=lambda one: (one[0], one[1].schedule))
    return [record for _, record in found[:most]]


async def heartbeat(house: House, _role: str, params: Heartbeat) -> Submitted:
    """A foreign cron says that it ran (``ok``), or that it failed (``error``); the job that stands for that run. The
    same slot again is the same job."""
    entry = house.schedules.entry(params.name)
    if entry.kind is not Kind.HEARTBEAT:
        raise RequestError(f"{entry.name!r} is run by the daemon itself; a heartbeat is for entries with heartbeat")
    if params.status not in ("ok", "error"):
        raise RequestError(f"status is ok or error, not {params.status[:60]!r}")
    line = house.schedules.ticker.line(entry)
    (standing,) = await house.store.schedules.standings([line])
    now = house.store.now()
    last = now if standing is None else standing.last
    owes = owed(entry.cron, last, now, now - last, 0)
    slot = owes.fire[-1] if owes.fire else entry.cron.next(last)
    submission = _beat(house, entry, params, slot if slot is not None else now)
    if slot is None or slot > now + EARLY:
        # beside its slots: it ran once more, or by hand
        return _answered((await house.store.submit([submission]))[0])
    ticks = [Tick(line=line, slot=slot, submission=submission)]
    if len(owes.fire) > 1:
        missed = owes.fire[:-1]
        gap = Tick(line=line, slot=missed[-1], fate=Fate.MISSED, reason="no heartbeat came", first=missed[0],
                   count=len(missed))  # fmt: skip
        ticks.insert(0, gap)
    *_, answer = await house.store.schedules.decide(ticks, house.settings().node)
    house.claimer.wake({submission.command})
    return Submitted(answer.job or submission.id, answer.fate is Fate.FIRED)


def _beat(house: House, entry: Entry, params: Heartbeat, slot: float) -> Submission:
    spec = house.pool.commands.get(alerts.BEAT)
    if spec is None:
        raise RequestError("nothing is watched here: the settings have no [monitors]")
    raw = msgspec.json.encode({"schedule": entry.name, "status": params.status, "message": params.message[:500]})
    tags = (f"schedule:{entry.name}", f"slot:{shown(slot)}")
    return resolve(Request(command=alerts.BEAT, input=msgspec.Raw(raw), tags=tags), spec, house.store.now())


def _answered(answer: Submitted | Exception) -> Submitted:
    if isinstance(answer, Exception):
        raise answer
    return answer


async def _of_one(
    house: House, entry: Entry, now: float, start: float, end: float, most: int
) -> list[tuple[float, CalendarRecord]]:
    (one,) = await house.monitors.watch([entry], MOST if end - start > DAY else most)
    last = now if one.standing is None or one.standing.paused is not None or not entry.active else one.standing.last
    if not entry.active:
        end = min(end, now)
    begun = one.runs[0].slot.slot if one.runs else last
    marked = monitor.calendar(one.runs, entry.cron, last, begun, one.rules, now, start, end, most)
    node = house.schedules.ticker.line(entry).node or None
    return [
        (
            slot,
            CalendarRecord(
                schedule=entry.name,
                node=node,
                slot=iso(slot) or "",
                first=iso(first) or "",
                count=count,
                mark=str(mark),
                job=run.slot.job if run else None,
                started=iso(run.job.started) if run and run.job else None,
                completed_at=iso(run.job.finished) if run and run.job else None,
                error=(str(run.job.fault) if run.job and run.job.fault else run.slot.reason or None) if run else None,
            ),
        )
        for slot, first, count, mark, run in marked
    ]


def _record(house: House, one: Watch) -> MonitorRecord:
    entry, change = one.entry, one.change
    now = house.store.now()
    return MonitorRecord(
        schedule=entry.name,
        node=house.schedules.ticker.line(entry).node or None,
        health=str(one.health),
        since=iso(change.since) if change else None,
        why=change.why if change else None,
        job=change.job if change else None,
        watched=house.monitors.watches(entry),
        slug=one.rules.slug,
        margin=one.rules.margin,
        longest=one.rules.longest,
        failures=one.rules.failures,
        next=iso(entry.cron.next(now)) if entry.active else None,
    )
