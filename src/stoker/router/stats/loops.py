"""How busy the loop of a worker was, over the same time as its share of jobs.

A worker is asked for it only when it worked, or when somebody looks, so that an idle one sleeps on. What it says counts
from the look at which it is heard; the time before which nothing is known of is not spread over the time that is shown.
"""

from __future__ import annotations

from stoker.wire.frames import Vitals


class MainThread:
    """Of one that runs one job at a time: its loop is busy while it has a job, also when it cannot say so."""

    def __init__(self) -> None:
        self._heard: Vitals | None = None
        self._spent = 0.0
        self._busy = 0.0

    def seconds(self, vitals: Vitals | None, busy: float, busy_then: float) -> float:
        """Seconds in which it did not wait: what it said last, and the jobs since then. ``busy`` is the seconds of all
        jobs, ``busy_then`` as they were when it said so."""
        if vitals is not None and vitals is not self._heard and vitals.waited is not None:
            self._heard, self._spent, self._busy = vitals, vitals.lived - vitals.waited, busy_then
        return self._spent + busy - self._busy


class EventLoop:
    """Of one that runs several at a time, ``begun`` then."""

    def __init__(self, begun: float) -> None:
        self._heard: Vitals | None = None
        self._at = begun
        self._spent = 0.0
        self._gap = False
        self.value: float | None = 0.0

    def look(self, vitals: Vitals | None, at: float, busy_percent: float, *, moved: bool) -> float | None:
        """In percent, since the look before, as ``busy_percent`` is; None where that cannot be told from the time
        before. ``moved`` is whether the next look counts from ``at``."""
        asked = vitals is not None and vitals is not self._heard
        if moved and not asked:
            self._gap, self.value = True, 0.0  # it had nothing to do
        elif moved and vitals is not None and vitals.waited is not None:
            spent, whole = vitals.lived - vitals.waited, not self._gap or not busy_percent
            self.value = max(0.0, 100 * (spent - self._spent) / (at - self._at)) if whole else None
            self._heard, self._at, self._spent, self._gap = vitals, at, spent, False
        return self.value
