"""Figures of this daemon since its start: counted here, shown by `stats`, `top` and the Prometheus page."""

from __future__ import annotations

from collections import deque

from stoker.model.outcome import Done, Outcome, Returned, Snoozed
from stoker.router.attempt import Attempt

WINDOW = 60.0
"""Seconds over which rates are taken."""


class Tally:
    """Counts by command and ending, and a sliding window for rates."""

    def __init__(self) -> None:
        self.submitted = 0
        self.by_command: dict[tuple[str, str], int] = {}
        self.seconds: dict[str, float] = {}
        self._recent: deque[float] = deque(maxlen=100_000)

    def ended(self, attempt: Attempt, outcome: Outcome, now: float) -> None:
        if isinstance(outcome, Returned):
            return
        word = "done" if isinstance(outcome, Done) else "snoozed" if isinstance(outcome, Snoozed) else "not_done"
        name = attempt.job.command
        self.by_command[name, word] = self.by_command.get((name, word), 0) + 1
        self.seconds[name] = self.seconds.get(name, 0.0) + now - attempt.born
        self._recent.append(now)

    def rate(self, now: float) -> float:
        """Attempts that ended per second, over the last minute."""
        while self._recent and self._recent[0] < now - WINDOW:
            self._recent.popleft()
        return len(self._recent) / WINDOW

    @property
    def total(self) -> int:
        return sum(self.by_command.values())
