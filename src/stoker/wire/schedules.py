"""Schedules as clients see them."""

from __future__ import annotations

import msgspec

from stoker.model.job import Job
from stoker.model.schedule import Entry
from stoker.model.slot import Slot, Standing
from stoker.wire.records import iso


class ScheduleRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule. Times are ISO 8601 in UTC. ``kind`` is job, cron, command or url, ``what`` what is run."""

    name: str
    schedule: str
    tz: str
    kind: str
    what: str
    active: bool
    paused: str | None
    """Since when; null when it is not."""
    role: str | None
    every_node: bool
    here: bool
    """Whether the asked node ticks it."""
    next: str | None
    last: str | None
    """The newest slot that was decided lately, and what became of it."""
    fate: str | None
    job: str | None
    where: str


class SchedulesRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules, and what is wrong with the files. ``by`` is who runs those of the files: daemon or crontab."""

    env: str
    by: str
    problems: list[str]
    schedules: list[ScheduleRecord]


class SlotRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a slot, and of its job. Of several missed slots ``slot`` is the last, ``first`` the first."""

    schedule: str
    node: str | None
    slot: str
    first: str
    count: int
    decided: str
    decider: str
    fate: str
    reason: str | None
    job: str | None
    status: str | None
    started: str | None
    completed_at: str | None
    error: str | None


def schedule_record(
    entry: Entry, now: float, *, here: bool = False, standing: Standing | None = None, newest: Slot | None = None
) -> ScheduleRecord:
    """``standing`` is how far the store says it has come, ``newest`` its newest slot."""
    last = now if standing is None else max(now, standing.last)
    coming = entry.cron.next(last) if entry.active else None
    return ScheduleRecord(
        name=entry.name,
        schedule=entry.schedule,
        tz=entry.tz,
        kind=str(entry.kind),
        what=entry.shown,
        active=entry.active,
        paused=iso(standing.paused) if standing else None,
        role=entry.role or None,
        every_node=entry.every_node,
        here=here,
        next=iso(coming),
        last=iso(newest.slot) if newest else None,
        fate=str(newest.fate) if newest else None,
        job=standing.job if standing else None,
        where=entry.where,
    )


def slot_record(slot: Slot, job: Job | None) -> SlotRecord:
    return SlotRecord(
        schedule=slot.line.name,
        node=slot.line.node or None,
        slot=iso(slot.slot) or "",
        first=iso(slot.first) or "",
        count=slot.count,
        decided=iso(slot.at) or "",
        decider=slot.decider,
        fate=str(slot.fate),
        reason=slot.reason or None,
        job=slot.job,
        status=str(job.state) if job else None,
        started=iso(job.started) if job else None,
        completed_at=iso(job.finished) if job else None,
        error=str(job.fault) if job and job.fault else None,
    )
