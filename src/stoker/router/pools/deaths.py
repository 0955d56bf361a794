"""Workers that die at their start: how often in a row, when the next one may be made, and what is wrong.

in a row   1     2     3     4      BROKEN_AFTER and more
pause      0     1     5     15 s   BROKEN_AGAIN, one at a time: the pool is broken
"""

from __future__ import annotations

import asyncio

from stoker.model.quantities import show_seconds

PAUSES = (0.0, 1.0, 5.0, 15.0)
"""Seconds before the next worker after the first death without a job, the second …"""
BROKEN_AFTER = 5
BROKEN_AGAIN = 60.0
"""Seconds after which a broken pool is tried again."""


class Deaths:
    """Those of one pool since a worker of it did a job."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._again_at: float | None = None
        self.count = 0
        self.problem = ""
        """What was said of the last one."""

    @property
    def broken(self) -> bool:
        """Whether there were so many that only now and then another worker is made."""
        return self.count >= BROKEN_AFTER

    @property
    def left(self) -> float | None:
        """Seconds until the next worker may be made; None when one may be."""
        return None if self._again_at is None else max(0.0, self._again_at - self._loop.time())

    def told(self, pool: str) -> str | None:
        """Why no worker is made now, if that is so."""
        if (left := self.left) is None:
            return None
        if self.broken:
            return (
                f"the pool {pool} is broken: {self.problem}; tried again in {show_seconds(left)}, or by `stoker reload`"
            )
        return f"the workers of {pool} die: {self.problem}; the next one is made in {show_seconds(left)}"

    def add(self, problem: str) -> float:
        """Another one. Seconds until the next worker may be made; 0 for at once."""
        self.count += 1
        self.problem = problem
        return self.pause(BROKEN_AGAIN if self.broken else PAUSES[self.count - 1])

    def pause(self, seconds: float) -> float:
        """No other worker until then."""
        self._again_at = self._loop.time() + seconds if seconds else None
        return seconds

    def over(self) -> None:
        """The pause is."""
        self._again_at = None

    def forget(self) -> None:
        """Whatever was wrong is not any more."""
        self.count = 0
        self.over()
