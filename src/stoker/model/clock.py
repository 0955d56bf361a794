"""Time, as a thing that is handed in.

Wall time is for what people read and for what is stored; monotonic time is for how long something took and when to
wake. Mixing the two is a bug (the wall clock jumps), so no other module calls :mod:`time` for a decision.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    def wall(self) -> float:
        """Seconds since the epoch, UTC; may jump."""

    def mono(self) -> float:
        """Seconds on a clock that only goes forward."""


class SystemClock:
    """The machine's clocks."""

    def wall(self) -> float:
        return time.time()

    def mono(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that stands still until a test moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start
        self._mono = 0.0

    def wall(self) -> float:
        return self._now

    def mono(self) -> float:
        return self._mono

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._mono += seconds

    def jump(self, seconds: float) -> None:
        """Move the wall clock alone, as an administrator or NTP would."""
        self._now += seconds
