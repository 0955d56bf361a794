"""A schedule on its way from slot to slot."""

from __future__ import annotations

from stoker.model.schedule import Entry
from stoker.model.slot import Line

LEAST = 1e-3
"""Seconds between two slots of one schedule, at least."""


class Plan:
    """``last`` is the newest decided slot, ``at`` when the next one is to be decided."""

    __slots__ = ("at", "delay", "entry", "last", "line")

    def __init__(self, entry: Entry, line: Line, last: float) -> None:
        self.entry = entry
        self.line = line
        self.last = last
        self.delay = entry.delay(line.node)
        self.at = 0.0

    def aim(self) -> bool:
        """Set the moment of the next slot; whether there is one."""
        slot = self.entry.cron.next(self.last)
        self.at = 0.0 if slot is None else slot + self.delay
        return slot is not None

    def now(self, now: float) -> float:
        """The slot of something that is due at this moment."""
        return max(now, self.last + LEAST)
