"""When to look again for jobs that a rate holds back.

A claim does not say what waits. So after each start under a rate, and after a look that somebody else caused, there is
one more look an interval later; one that finds nothing is the last. While nothing goes on, nobody is asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from stoker.model.job import Claimed
from stoker.store.base import Quota

SLOWER = 1.001
"""The store's clock, by which a rate is kept, may be so much slower than ours."""


class Rates:
    """``look`` is called with the commands that may start their next job now."""

    def __init__(self, look: Callable[[set[str]], None]) -> None:
        self._look = look
        self._due: dict[str, float] = {}
        self._looked: set[str] = set()
        """Commands of which the look that is under way was ours."""
        self._timer: asyncio.TimerHandle | None = None

    def claimed(self, quotas: Sequence[Quota], jobs: Sequence[Claimed]) -> None:
        """These were asked for, and these came."""
        rated = [quota for quota in quotas if quota.interval is not None]
        if not rated:
            return
        now, started = asyncio.get_running_loop().time(), {job.command for job in jobs}
        for quota in rated:
            assert quota.interval is not None
            if quota.command in started:
                self._due[quota.command] = now + quota.interval * SLOWER
            elif quota.command not in self._looked:
                self._due.setdefault(quota.command, now + quota.interval * SLOWER)
            self._looked.discard(quota.command)
        self._wait()

    def stop(self) -> None:
        """Look no more."""
        self._due.clear()
        self._wait()

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        if self._due:
            self._timer = asyncio.get_running_loop().call_at(min(self._due.values()), self._over)

    def _over(self) -> None:
        now = asyncio.get_running_loop().time()
        over = {command for command, due in self._due.items() if due <= now}
        for command in over:
            del self._due[command]
        self._looked |= over
        self._wait()
        self._look(over)
