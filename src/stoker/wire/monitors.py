"""Monitors and the calendar as clients see them."""

from __future__ import annotations

import msgspec


class MonitorRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The health of a schedule: ok, missed, late, too_long or failing. ``watched`` is whether somebody is told when it
    changes, ``since`` the slot that brought it, ``next`` when it is due."""

    schedule: str
    node: str | None
    health: str
    since: str | None
    why: str | None
    job: str | None
    watched: bool
    slug: str
    margin: float
    longest: float | None
    failures: int
    next: str | None


class CalendarRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A slot on the calendar: ok, failed, late, missed, skipped, paused, running, not_due, or unknown where its job is
    kept no longer. Of several missed slots ``slot`` is the last and ``first`` the first."""

    schedule: str
    node: str | None
    slot: str
    first: str
    count: int
    mark: str
    job: str | None
    started: str | None
    completed_at: str | None
    error: str | None
